//! Command lines without what looks like a secret in them. Guesses by names and by looks, and rather hides too much; asks nobody.

/// What stands in the place of a secret.
const HIDDEN: &str = "***";
/// Ends of the names of what is secret, in lower case.
const NAME_ENDS: [&str; 12] = [
    "token",
    "secret",
    "password",
    "passwd",
    "passphrase",
    "apikey",
    "accesskey",
    "secretkey",
    "privatekey",
    "credential",
    "credentials",
    "authorization",
];
/// Names that are meant as a whole.
const NAMES: [&str; 6] = ["key", "pass", "pwd", "auth", "cookie", "pat"];
/// How tokens of well-known services begin.
const BEGINNINGS: [&str; 17] = [
    "sk-",
    "sk_",
    "pk_",
    "rk_",
    "ghp_",
    "gho_",
    "ghu_",
    "ghs_",
    "github_pat_",
    "glpat-",
    "xox",
    "AKIA",
    "ASIA",
    "AIza",
    "hf_",
    "npm_",
    "eyJ",
];
/// Kinds of credentials in a header, before the credential itself.
const SCHEMES: [&str; 4] = ["bearer", "basic", "token", "digest"];
/// The shortest text without a break that is taken for a random one, and the shortest with breaks.
const RANDOM: usize = 20;
const RANDOM_WITH_BREAKS: usize = 32;

/// A command line, its arguments separated by spaces, in which values that look like secrets are hidden: those of flags,
/// variables and headers named so, passwords in URLs, and what looks like a token by itself.
pub fn redacted(command: &str) -> String {
    let mut line = String::with_capacity(command.len());
    let mut next_is_secret = false;
    for (n, word) in command.split(' ').enumerate() {
        if n > 0 {
            line.push(' ');
        }
        let bare = word.trim_matches(['"', '\'', '{', '[', ',']);
        let is_scheme = SCHEMES.contains(&bare.to_lowercase().as_str());
        if next_is_secret && !word.is_empty() && !word.starts_with("--") {
            if is_scheme {
                line.push_str(word);
            } else {
                line.push_str(HIDDEN);
                next_is_secret = false;
            }
            continue;
        }
        line.push_str(&without_secrets(word));
        next_is_secret = is_scheme && bare.len() == word.len() && n > 0 && bare.starts_with(char::is_uppercase)
            || announces(bare)
            || (word.is_empty() && next_is_secret);
    }
    line
}

/// Whether a word says that the next one is a secret: `--api-key`, `Authorization:`, `"password":`.
fn announces(word: &str) -> bool {
    let header = word.strip_suffix(':').map(|name| name.trim_matches(['"', '\'']));
    let flag = word.starts_with('-').then_some(word);
    header
        .or(flag)
        .is_some_and(|name| !name.contains('=') && names_a_secret(name))
}

/// Whether what has this name is secret: `--api-key`, `GITHUB_TOKEN`, `accessToken`.
fn names_a_secret(name: &str) -> bool {
    let lower = name.to_lowercase();
    let mut parts = lower.split(|c: char| !c.is_alphanumeric());
    parts.any(|part| NAMES.contains(&part) || NAME_ENDS.iter().any(|end| part.ends_with(end)))
}

fn without_secrets(word: &str) -> String {
    // What goes through here is short, and mostly none of it is to be hidden.
    if let Some((scheme, rest)) = word.split_once("://") {
        return format!("{scheme}://{}", url(rest));
    }
    for separator in ['=', ':'] {
        if let Some((name, value)) = word.split_once(separator)
            && !value.is_empty()
            && !name.contains('/')
        {
            let name_alone = name.trim_matches(['"', '\'', '{', ',']);
            if names_a_secret(name_alone) {
                return format!("{name}{separator}{HIDDEN}");
            }
            if separator == '=' {
                return format!("{name}={}", without_secrets(value));
            }
        }
    }
    if looks_secret(word) {
        HIDDEN.to_owned()
    } else {
        word.to_owned()
    }
}

/// What follows `://`: who asks by which password, and parameters that are named like secrets, are hidden.
fn url(rest: &str) -> String {
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let authority = match authority.rsplit_once('@') {
        Some((_, host)) => format!("{HIDDEN}@{host}"),
        None => authority.to_owned(),
    };
    let parameter = |part: &str| match part.split_once('=') {
        Some((name, value)) if names_a_secret(name) || looks_secret(value) => format!("{name}={HIDDEN}"),
        _ => part.to_owned(),
    };
    let Some((path, query)) = path.split_once('?') else {
        return authority + &steps(path);
    };
    let query: Vec<String> = query.split('&').map(parameter).collect();
    format!("{authority}{}?{}", steps(path), query.join("&"))
}

/// A URL's path: some services have their keys in it.
fn steps(path: &str) -> String {
    let step = |step: &str| {
        if looks_secret(step) {
            HIDDEN.to_owned()
        } else {
            step.to_owned()
        }
    };
    path.split('/').map(step).collect::<Vec<_>>().join("/")
}

/// Whether a text looks like a token by itself. Paths do not: they hold hashes.
fn looks_secret(text: &str) -> bool {
    let text = text.trim_matches(|c: char| !c.is_ascii_alphanumeric());
    if text.contains('/') {
        return false;
    }
    if text.len() >= 16 && BEGINNINGS.iter().any(|beginning| text.starts_with(beginning)) {
        return true;
    }
    let of = |is: fn(&char) -> bool, text: &str| text.chars().filter(is).count();
    let is_random = |part: &str| {
        part.len() >= RANDOM
            && of(char::is_ascii_digit, part) >= 3
            && of(char::is_ascii_alphabetic, part) >= 3
            && part.chars().all(|c| c.is_ascii_alphanumeric())
    };
    let is_mixed = text.len() >= RANDOM_WITH_BREAKS
        && [char::is_ascii_digit, char::is_ascii_lowercase, char::is_ascii_uppercase]
            .into_iter()
            .all(|is| of(is, text) >= 2);
    is_mixed || text.split(|c: char| !c.is_ascii_alphanumeric()).any(is_random)
}

#[cfg(test)]
mod tests {
    //! Command lines as they are seen, with made-up secrets.
    use super::*;

    #[test]
    fn what_is_named_like_a_secret_is_hidden() {
        for (command, shown) in [
            (
                "npx -y x --api-key abc123 --verbose",
                "npx -y x --api-key *** --verbose",
            ),
            ("x --token=abc --max-tokens 500", "x --token=*** --max-tokens 500"),
            ("x --accessToken abc -password abc", "x --accessToken *** -password ***"),
            (
                "docker run -e GITHUB_PERSONAL_ACCESS_TOKEN=abc -e API_KEY mcp/github",
                "docker run -e GITHUB_PERSONAL_ACCESS_TOKEN=*** -e API_KEY mcp/github",
            ),
            ("env PGPASSWORD=a=b psql", "env PGPASSWORD=*** psql"),
            (
                "npx mcp-remote https://h/sse --header Authorization: Bearer abc",
                "npx mcp-remote https://h/sse --header Authorization: Bearer ***",
            ),
            ("curl -H x-api-key:abc h", "curl -H x-api-key:*** h"),
            ("curl -H Authorization:Basic abc", "curl -H Authorization:*** abc"),
            ("x {\"password\": \"abc\"} y", "x {\"password\": *** y"),
            ("x --token --verbose y", "x --token --verbose y"),
            ("x --token  abc", "x --token  ***"),
        ] {
            assert_eq!(redacted(command), shown);
        }
    }

    #[test]
    fn what_looks_like_a_token_is_hidden() {
        for secret in [
            concat!("sk", "-proj-aaaaaaaaaaaa"),
            concat!("ghp", "_aaaaaaaaaaaaaaaaaaaa"),
            "deadbeef00deadbeef00deadbeef00de",
            "Ab3-Cd4_Ef5-Gh6_Ij7-Kl8_Mn9-Op0_Qr",
        ] {
            assert_eq!(redacted(&format!("x {secret} y")), "x *** y");
            assert_eq!(redacted(&format!("x --config={secret}")), "x --config=***");
        }
    }

    #[test]
    fn passwords_in_addresses_are_hidden() {
        for (command, shown) in [
            ("x postgres://user:abc@db:5432/main", "x postgres://***@db:5432/main"),
            (
                "x https://h/sse?profile=me&api_key=abc",
                "x https://h/sse?profile=me&api_key=***",
            ),
            ("x --url=https://a:b@h/", "x --url=https://***@h/"),
            (
                "x https://h/deadbeef00deadbeef00deadbeef00de/mcp",
                "x https://h/***/mcp",
            ),
        ] {
            assert_eq!(redacted(command), shown);
        }
    }

    #[test]
    fn what_is_no_secret_stays() {
        for command in [
            "npm exec @modelcontextprotocol/server-filesystem /srv/user/a b",
            "node /srv/user/.npm/_npx/5a9d879542beca3a/node_modules/.bin/mcp-server-everything",
            "/srv/u/.vscode-server/bin/deadbeef00deadbeef00deadbeef00deadbeef00/node --type=extensionHost",
            "/nix/store/0c5b1s2d3f4g5h6j7k8l9m0n1p2q3r4s-python3-3.12/bin/python3 -m mcp_server_git",
            "docker run -i --rm mcp/postgres",
            "x --author me --keyboard us --tokenizer bpe http://127.0.0.1:8080/x",
            "uvx --from git+https://github.com/a/b-mcp b-mcp",
            "",
        ] {
            assert_eq!(redacted(command), command);
        }
    }
}
