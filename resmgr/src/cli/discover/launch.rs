//! What a command line starts: the program, and what that runs, be it a package, an image or a script. Guesses by names alone,
//! and rather misses a server than take an editor of one for it. Pure.

/// Parts of names by which MCP servers call themselves.
const SERVER: [&str; 5] = ["mcp", "fastmcp", "mcpserver", "modelcontextprotocol", "mcpo"];
/// Parts of names of what has to do with MCP, and is no server.
const NO_SERVER: [&str; 6] = ["client", "inspector", "test", "tests", "spec", "sdk"];
/// Names that say nothing: what is above them on a path does.
const GENERIC: [&str; 20] = [
    "index", "main", "__main__", "__init__", "server", "cli", "app", "run", "start", "stdio", "dist", "build", "lib",
    "src", "bin", "out", "esm", "cjs", "release", "debug",
];
/// Ends of file names that a tool's name does without.
const ENDS: [&str; 10] = ["js", "mjs", "cjs", "ts", "py", "sh", "rb", "jar", "dll", "asar"];
/// Programs that run a script: what follows their flags.
const INTERPRETERS: [&str; 15] = [
    "node", "nodejs", "electron", "bun", "deno", "tsx", "ruby", "perl", "php", "dotnet", "sh", "bash", "dash", "zsh",
    "ash",
];
/// Flags that a value follows: of what runs packages, images, scripts.
const OF_PACKAGES: [&str; 9] = [
    "-p",
    "--package",
    "--from",
    "--with",
    "--spec",
    "--python",
    "--directory",
    "--project",
    "--prefix",
];
const OF_IMAGES: [&str; 23] = [
    "-e",
    "--env",
    "--env-file",
    "-v",
    "--volume",
    "--mount",
    "--name",
    "--network",
    "-p",
    "--publish",
    "-w",
    "--workdir",
    "-u",
    "--user",
    "--entrypoint",
    "-l",
    "--label",
    "--cidfile",
    "-m",
    "--memory",
    "--cpus",
    "--add-host",
    "--platform",
];
const OF_SCRIPTS: [&str; 8] = [
    "-r",
    "--require",
    "--import",
    "--loader",
    "--env-file",
    "-W",
    "-X",
    "-cp",
];

/// What a command line starts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Launched {
    /// The program's name, without its path.
    pub(super) program: String,
    /// What it runs, without version and place: a package with its scope, an image, a module, a script.
    pub(super) label: Option<String>,
    /// By its name it is an MCP server.
    pub(super) is_server: bool,
    /// Its first argument is `mcp` or `mcp-server`: as a host's child it is a server.
    pub(super) subcommand: bool,
    /// It only asks for a container, whose processes are elsewhere.
    pub(super) container: bool,
}

impl Launched {
    /// Reads a command line, its arguments separated by spaces.
    pub(super) fn of(command: &str) -> Self {
        let words: Vec<&str> = command.split_whitespace().collect();
        let Some((first, rest)) = words.split_first() else {
            return Self::default();
        };
        let program = first.trim_start_matches('-').rsplit('/').next().unwrap_or(first);
        let program = program.trim_end_matches(':').to_owned();
        let run = run_by(&program, rest);
        let container = matches!(program.as_str(), "docker" | "podman");
        let subcommand = run.is_none() || container;
        let label = run.or_else(|| (!container && !is_interpreter(&program)).then(|| label(&program)));
        let is_server = label.as_deref().is_some_and(names_a_server);
        Self {
            subcommand: subcommand && matches!(rest.first(), Some(&"mcp" | &"mcp-server")),
            program,
            label,
            is_server,
            container,
        }
    }

    /// A name for a tool that it becomes.
    pub(super) fn name(&self) -> String {
        let label = self.label.as_deref().unwrap_or(&self.program);
        let (scope, own) = label.rsplit_once('/').unwrap_or(("", label));
        let telling = |text: &str| {
            let mut parts: Vec<String> = parts(text).collect();
            if parts.len() > 1 && parts.last().is_some_and(|end| ENDS.contains(&end.as_str())) {
                parts.pop();
            }
            parts.retain(|part| !(SERVER.contains(&part.as_str()) || part == "server" || part == "servers"));
            parts.join("-")
        };
        let names = [telling(own), telling(scope), parts(own).collect::<Vec<_>>().join("-")];
        let name = names.into_iter().find(|name| !name.is_empty());
        name.unwrap_or_else(|| "server".to_owned()).chars().take(60).collect()
    }
}

/// What a launcher or an interpreter runs; `None` of any other program, and where that runs code that it is given.
fn run_by(program: &str, words: &[&str]) -> Option<String> {
    let first = words.first().copied().unwrap_or_default();
    match program {
        "npx" | "pnpx" | "bunx" | "uvx" => package(words),
        "npm" if matches!(first, "exec" | "x") => package(&words[1..]),
        "pnpm" | "yarn" if first == "dlx" => package(&words[1..]),
        "bun" if first == "x" => package(&words[1..]),
        "pipx" if first == "run" => package(&words[1..]),
        "uv" => {
            let verb = words.iter().position(|word| matches!(*word, "run" | "uvx"))?;
            let folder = after(words, &["--directory", "--project"]);
            // A file is named from the folder that uv is told to go to.
            match folder {
                Some(folder) => Some(label(&format!(
                    "{folder}/{}",
                    operand(&words[verb + 1..], &OF_PACKAGES)?
                ))),
                None => package(&words[verb + 1..]),
            }
        }
        "docker" | "podman" if first == "run" => {
            let image = operand(&words[1..], &OF_IMAGES)?.split('@').next()?;
            let last = image.rfind('/').map_or(0, |slash| slash + 1);
            let untagged = image[last..].find(':').map_or(image, |colon| &image[..last + colon]);
            let own = label(untagged);
            Some(if untagged.starts_with("mcp/") {
                format!("mcp/{own}")
            } else {
                own
            })
        }
        "java" => after(words, &["-jar"]).map(label),
        _ if is_python(program) => match words.iter().position(|word| *word == "-m") {
            Some(at) if words[..at].iter().all(|word| word.starts_with('-')) => {
                words.get(at + 1).map(|module| (*module).to_owned())
            }
            _ => script(words),
        },
        "bun" | "deno" if first == "run" => script(&words[1..]),
        _ if INTERPRETERS.contains(&program) => script(words),
        _ => None,
    }
}

fn is_python(program: &str) -> bool {
    program.starts_with("python") || program.starts_with("pypy")
}

fn is_interpreter(program: &str) -> bool {
    is_python(program) || INTERPRETERS.contains(&program)
}

/// The word that a flag is followed by.
fn after<'a>(words: &[&'a str], flags: &[&str]) -> Option<&'a str> {
    let at = words.iter().position(|word| flags.contains(word))?;
    words.get(at + 1).copied()
}

/// The first word that is neither a flag nor the value of one.
fn operand<'a>(words: &[&'a str], with_value: &[&str]) -> Option<&'a str> {
    let mut words = words.iter();
    while let Some(word) = words.next() {
        if with_value.contains(word) {
            words.next();
        } else if !word.starts_with('-') {
            return Some(word);
        }
    }
    None
}

/// The package that is run, or that what is run is taken from.
fn package(words: &[&str]) -> Option<String> {
    let run = operand(words, &OF_PACKAGES)?;
    let from = after(words, &["-p", "--package", "--from", "--spec"]);
    match from.map(label) {
        Some(from) if names_a_server(&from) && !names_a_server(&label(run)) => Some(from),
        _ => Some(module_or(run, words)),
    }
}

/// What is run, or what the programs `mcp` and `fastmcp` are told to run.
fn module_or(run: &str, words: &[&str]) -> String {
    let behind = words.iter().skip_while(|word| **word != run).skip(1);
    match *behind.take(2).copied().collect::<Vec<_>>() {
        ["run", file] if matches!(run, "mcp" | "fastmcp") => format!("mcp/{}", label(file)),
        _ => label(run),
    }
}

/// The script of an interpreter; `None` where its code is an argument.
fn script(words: &[&str]) -> Option<String> {
    let found = operand(words, &OF_SCRIPTS)?;
    let flags = words.iter().take_while(|word| **word != found);
    let is_code = |word: &str| {
        matches!(word, "-e" | "--eval" | "-p" | "--print" | "-")
            || (word.starts_with('-') && !word.starts_with("--") && word.ends_with('c'))
    };
    if flags.copied().any(is_code) {
        return None;
    }
    let script = label(found);
    if matches!(script.as_str(), "mcp" | "fastmcp") {
        let own = words.iter().position(|word| *word == found)?;
        return Some(module_or(&script, &[&[script.as_str()], &words[own + 1..]].concat()));
    }
    Some(script)
}

/// The telling part of a package's, an image's or a file's name: `@scope/name`, or the last part that says something.
fn label(text: &str) -> String {
    let text = text
        .trim_start_matches("npm:")
        .trim_start_matches("jsr:")
        .trim_end_matches('/');
    // The version: what follows an `@` that does not begin the name, `==`, or extras in brackets.
    let text = text.split("==").next().unwrap_or(text);
    let text = text.split('[').next().unwrap_or(text);
    let last = text.rfind('/').map_or(0, |slash| slash + 1);
    let text = text[last..]
        .find('@')
        .filter(|at| *at > 0)
        .map_or(text, |at| &text[..last + at]);
    let steps: Vec<&str> = text.split('/').filter(|step| !step.is_empty()).collect();
    let says = |step: &&str| {
        let stem = step
            .split_once('.')
            .map_or(*step, |(stem, _)| if stem.is_empty() { step } else { stem });
        !GENERIC.contains(&stem)
    };
    let Some(at) = steps.iter().rposition(says).or(steps.len().checked_sub(1)) else {
        return String::new();
    };
    let scope = at
        .checked_sub(1)
        .and_then(|above| steps.get(above))
        .filter(|scope| scope.starts_with('@'));
    match scope {
        Some(scope) => format!("{scope}/{}", steps[at]),
        None => steps[at].to_owned(),
    }
}

/// The parts of a name, in lower case.
fn parts(name: &str) -> impl Iterator<Item = String> {
    let parts = name
        .split(|c: char| !c.is_ascii_alphanumeric())
        .filter(|part| !part.is_empty());
    parts.map(str::to_ascii_lowercase)
}

/// Whether a name is that of an MCP server.
fn names_a_server(name: &str) -> bool {
    let is = |these: &[&str]| parts(name).any(|part| these.contains(&part.as_str()));
    is(&SERVER) && !is(&NO_SERVER)
}

#[cfg(test)]
mod tests;
