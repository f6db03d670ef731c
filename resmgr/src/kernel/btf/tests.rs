//! BTF made by hand, by the format's documentation; and garbage.

use super::*;

/// Builds a BTF blob.
#[derive(Default)]
struct Blob {
    types: Vec<u8>,
    strings: Vec<u8>,
}

impl Blob {
    fn new() -> Self {
        Self {
            types: Vec::new(),
            strings: vec![0],
        }
    }

    fn string(&mut self, text: &str) -> u32 {
        if text.is_empty() {
            return 0;
        }
        let at = u32::try_from(self.strings.len()).unwrap();
        self.strings.extend_from_slice(text.as_bytes());
        self.strings.push(0);
        at
    }

    fn words(&mut self, words: &[u32]) {
        for word in words {
            self.types.extend_from_slice(&word.to_ne_bytes());
        }
    }

    /// A struct or union with members `(name, type, bits)`.
    fn aggregate(&mut self, kind: u32, name: &str, flagged: bool, members: &[(&str, u32, u32)]) {
        let name = self.string(name);
        let flag = u32::from(flagged) << 31;
        self.words(&[name, flag | kind << 24 | u32::try_from(members.len()).unwrap(), 64]);
        for (member, type_id, bits) in members {
            let member = self.string(member);
            self.words(&[member, *type_id, *bits]);
        }
    }

    fn finish(self) -> Vec<u8> {
        let mut blob = Vec::new();
        let (types, strings) = (
            u32::try_from(self.types.len()).unwrap(),
            u32::try_from(self.strings.len()).unwrap(),
        );
        blob.extend_from_slice(&MAGIC.to_ne_bytes());
        blob.extend_from_slice(&[1, 0]);
        for word in [24, 0, types, types, strings] {
            blob.extend_from_slice(&u32::to_ne_bytes(word));
        }
        blob.extend(self.types);
        blob.extend(self.strings);
        blob
    }
}

/// 1: int, 2: struct inner {int a; int b at 4}, 3: typedef of 2, 4: anonymous union {3 first; int second},
/// 5: struct outer {int x; 4 at 8; bit-field y at 24}, 6: array of 2, 7: struct holder {array at 16}.
fn blob() -> Vec<u8> {
    let mut blob = Blob::new();
    let int = blob.string("int");
    blob.words(&[int, KIND_INT << 24, 4, 32]);
    blob.aggregate(KIND_STRUCT, "inner", false, &[("a", 1, 0), ("b", 1, 32)]);
    let alias = blob.string("inner_t");
    blob.words(&[alias, KIND_TYPEDEF << 24, 2]);
    blob.aggregate(KIND_UNION, "", false, &[("first", 3, 0), ("second", 1, 0)]);
    blob.aggregate(
        KIND_STRUCT,
        "outer",
        true,
        &[("x", 1, 0), ("", 4, 64), ("y", 1, 3 << 24 | 0xc0)],
    );
    blob.words(&[0, KIND_ARRAY << 24, 0, 2, 1, 4]);
    blob.aggregate(KIND_STRUCT, "holder", false, &[("array", 6, 128)]);
    blob.finish()
}

fn offset(types: &Types<'_>, structure: &str, path: &str) -> Option<u32> {
    types
        .member(types.structure(structure)?, path)
        .map(|member| member.offset)
}

#[test]
fn members_are_found_through_anonymous_unions_typedefs_and_paths() {
    let blob = blob();
    let types = Types::parse(&blob).unwrap();
    assert_eq!(offset(&types, "inner", "b"), Some(4));
    assert_eq!(offset(&types, "outer", "second"), Some(8));
    assert_eq!(offset(&types, "outer", "first.b"), Some(12));
    assert_eq!(offset(&types, "outer", "y"), Some(24));
    assert_eq!(offset(&types, "outer", "z"), None);
    assert_eq!(offset(&types, "outer", "x.nothing"), None);
    assert!(types.structure("inner_t").is_none());
}

#[test]
fn an_array_tells_what_it_is_made_of() {
    let blob = blob();
    let types = Types::parse(&blob).unwrap();
    let member = types.member(types.structure("holder").unwrap(), "array").unwrap();
    assert_eq!(member.offset, 16);
    assert_eq!(types.array_of_structs(member.type_id), Some(("inner", 64)));
    assert_eq!(types.array_of_structs(1), None);
}

#[test]
fn no_truncation_of_the_blob_panics() {
    let blob = blob();
    for end in 0..blob.len() {
        if let Ok(types) = Types::parse(&blob[..end]) {
            let _ = offset(&types, "outer", "first.b");
        }
    }
}

#[test]
fn no_flipped_byte_panics_or_loops() {
    let original = blob();
    for at in 0..original.len() {
        for flip in [0x01, 0x80, 0xff] {
            let mut blob = original.clone();
            blob[at] ^= flip;
            if let Ok(types) = Types::parse(&blob) {
                let _ = offset(&types, "outer", "first.b");
                let _ = types.array_of_structs(6);
            }
        }
    }
}
