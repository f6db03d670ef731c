//! Users and groups as they are written: by name or by id.

use serde::Deserialize;

/// A user or a group as written.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub enum NameOrId {
    /// By id.
    Id(u32),
    /// By name, or by id as text.
    Name(String),
}

/// The group whose members see everything, where it is there and nothing else is said.
const GROUP: &str = "resmgr";

/// The id of a user or a group, by the lines of `/etc/passwd` or `/etc/group`, which have it at the same place.
pub(super) fn find(written: &NameOrId, lines: &str, what: &str, file: &str) -> Result<u32, String> {
    let name = match written {
        NameOrId::Id(id) => return Ok(*id),
        NameOrId::Name(name) => name,
    };
    if let Ok(id) = name.parse() {
        return Ok(id);
    }
    by_name(name, lines).ok_or_else(|| format!("there is no {name} in {file}: write a {what} id"))
}

fn by_name(name: &str, lines: &str) -> Option<u32> {
    let of_line = |line: &str| {
        let mut fields = line.split(':');
        (fields.next() == Some(name))
            .then(|| fields.nth(1)?.parse().ok())
            .flatten()
    };
    lines.lines().find_map(of_line)
}

/// The group whose members see everything, by the lines of `/etc/group`; none where the host has not the usual one.
pub(super) fn group(written: Option<&NameOrId>, lines: &str) -> Result<Option<u32>, String> {
    match written {
        Some(NameOrId::Name(name)) if name == GROUP => Ok(by_name(GROUP, lines)),
        Some(written) => find(written, lines, "group", "/etc/group").map(Some),
        None => Ok(by_name(GROUP, lines)),
    }
}

#[cfg(test)]
mod tests {
    //! Lines of `/etc/group` as they are.
    use super::*;

    #[test]
    fn the_usual_group_may_be_missing_and_one_that_somebody_wrote_may_not() {
        let lines = "root:x:0:\nresmgr:x:990:alice,bob\nops:x:991:\n";
        let name = |name: &str| NameOrId::Name(name.to_owned());
        assert_eq!(group(None, lines), Ok(Some(990)));
        assert_eq!(group(Some(&name("resmgr")), "root:x:0:\n"), Ok(None));
        assert_eq!(group(Some(&name("ops")), lines), Ok(Some(991)));
        assert_eq!(group(Some(&NameOrId::Id(7)), ""), Ok(Some(7)));
        assert!(group(Some(&name("nobody")), lines).unwrap_err().contains("group id"));
        assert_eq!(group(None, ""), Ok(None));
    }
}
