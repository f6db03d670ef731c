//! Reads BTF, the kernel's description of its own types: where a struct keeps a field. Follows
//! `Documentation/bpf/btf.rst`. aya parses BTF too, but keeps the members of structs to itself.

use std::collections::HashMap;

/// A kernel type description is malformed.
#[derive(Debug, thiserror::Error)]
#[error("malformed BTF at byte {offset}")]
pub(super) struct BtfError {
    offset: usize,
}

/// Where a member is, and what it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Member {
    /// Byte offset from the start of the outermost struct.
    pub(super) offset: u32,
    /// Type id of the member.
    pub(super) type_id: u32,
}

/// The types of a kernel.
pub(super) struct Types<'a> {
    data: &'a [u8],
    strings: &'a [u8],
    /// Byte offset of each type's entry; id 0 is `void`.
    entries: Vec<u32>,
    /// The struct with most members of each name: the kernel repeats some names in small files.
    structs: HashMap<&'a str, u32>,
}

const KIND_INT: u32 = 1;
const KIND_ARRAY: u32 = 3;
const KIND_STRUCT: u32 = 4;
const KIND_UNION: u32 = 5;
const KIND_ENUM: u32 = 6;
const KIND_TYPEDEF: u32 = 8;
const KIND_VOLATILE: u32 = 9;
const KIND_CONST: u32 = 10;
const KIND_RESTRICT: u32 = 11;
const KIND_FUNC_PROTO: u32 = 13;
const KIND_VAR: u32 = 14;
const KIND_DATASEC: u32 = 15;
const KIND_DECL_TAG: u32 = 17;
const KIND_TYPE_TAG: u32 = 18;
const KIND_ENUM64: u32 = 19;

/// A type's entry: its fixed part.
#[derive(Clone, Copy)]
struct Entry {
    at: usize,
    name: u32,
    kind: u32,
    /// Number of members, parameters or values.
    count: u32,
    /// Members carry bit-field sizes.
    flagged: bool,
    size_or_type: u32,
}

const MAGIC: u16 = 0xeb9f;
const ENTRY_LEN: usize = 12;
const MEMBER_LEN: usize = 12;

impl<'a> Types<'a> {
    /// Indexes a BTF blob, native byte order.
    pub(super) fn parse(blob: &'a [u8]) -> Result<Self, BtfError> {
        let header = |at| word(blob, at);
        if blob.get(..2).map(|b| u16::from_ne_bytes([b[0], b[1]])) != Some(MAGIC) {
            return Err(BtfError { offset: 0 });
        }
        let base = header(4)?;
        let section = |offset: u32, len: u32| {
            let start = (base as usize).checked_add(offset as usize)?;
            blob.get(start..start.checked_add(len as usize)?)
        };
        let data = section(header(8)?, header(12)?).ok_or(BtfError { offset: 8 })?;
        let strings = section(header(16)?, header(20)?).ok_or(BtfError { offset: 16 })?;
        let mut types = Self {
            data,
            strings,
            entries: vec![0],
            structs: HashMap::new(),
        };
        types.index()?;
        Ok(types)
    }

    fn index(&mut self) -> Result<(), BtfError> {
        let mut at = 0;
        while at < self.data.len() {
            let entry = entry_at(self.data, at)?;
            let id = u32::try_from(self.entries.len()).map_err(|_| BtfError { offset: at })?;
            self.entries
                .push(u32::try_from(at).map_err(|_| BtfError { offset: at })?);
            if entry.kind == KIND_STRUCT && entry.count > 0 {
                let more_members = |known: &u32| self.entry(*known).is_ok_and(|known| known.count >= entry.count);
                let name = self.string(entry.name);
                if !name.is_empty() && !self.structs.get(name).is_some_and(more_members) {
                    self.structs.insert(name, id);
                }
            }
            at += ENTRY_LEN + extra_len(&entry).ok_or(BtfError { offset: at })?;
        }
        Ok(())
    }

    /// The id of the struct with this name.
    pub(super) fn structure(&self, name: &str) -> Option<u32> {
        self.structs.get(name).copied()
    }

    /// Bytes of a struct.
    pub(super) fn size(&self, structure: u32) -> Option<u32> {
        self.entry(structure).ok().map(|entry| entry.size_or_type)
    }

    /// Where a struct keeps a member; a path like `se.sum_exec_runtime` goes into members, anonymous ones need no name.
    pub(super) fn member(&self, structure: u32, path: &str) -> Option<Member> {
        let mut found = Member {
            offset: 0,
            type_id: structure,
        };
        for name in path.split('.') {
            let inner = self.member_here(self.resolve(found.type_id)?, name, 0)?;
            found = Member {
                offset: found.offset + inner.offset,
                type_id: inner.type_id,
            };
        }
        Some(found)
    }

    /// The type behind typedefs and qualifiers.
    fn resolve(&self, mut id: u32) -> Option<u32> {
        // The kernel's chains are short; a malformed blob must not make this loop for ever.
        for _ in 0..32 {
            let entry = self.entry(id).ok()?;
            match entry.kind {
                KIND_TYPEDEF | KIND_VOLATILE | KIND_CONST | KIND_RESTRICT | KIND_TYPE_TAG => {
                    id = entry.size_or_type;
                }
                _ => return Some(id),
            }
        }
        None
    }

    /// The name of the struct that an array is made of, and the size of one element.
    pub(super) fn array_of_structs(&self, id: u32) -> Option<(&'a str, u32)> {
        let entry = self.entry(self.resolve(id)?).ok()?;
        if entry.kind != KIND_ARRAY {
            return None;
        }
        let element = self.resolve(word(self.data, entry.at + ENTRY_LEN).ok()?)?;
        let element = self.entry(element).ok()?;
        (element.kind == KIND_STRUCT).then(|| (self.string(element.name), element.size_or_type))
    }

    fn member_here(&self, structure: u32, name: &str, depth: u32) -> Option<Member> {
        let entry = self.entry(structure).ok()?;
        if !matches!(entry.kind, KIND_STRUCT | KIND_UNION) || depth > 8 {
            return None;
        }
        (0..entry.count as usize).find_map(|n| {
            let at = entry.at + ENTRY_LEN + n * MEMBER_LEN;
            let member_name = self.string(word(self.data, at).ok()?);
            let type_id = word(self.data, at + 4).ok()?;
            let bits = word(self.data, at + 8).ok()?;
            let offset = if entry.flagged { bits & 0x00ff_ffff } else { bits } / 8;
            if member_name == name {
                return Some(Member { offset, type_id });
            }
            if !member_name.is_empty() {
                return None;
            }
            let inner = self.member_here(self.resolve(type_id)?, name, depth + 1)?;
            Some(Member {
                offset: offset + inner.offset,
                type_id: inner.type_id,
            })
        })
    }

    fn entry(&self, id: u32) -> Result<Entry, BtfError> {
        match self.entries.get(id as usize) {
            Some(&at) if id != 0 => entry_at(self.data, at as usize),
            _ => Err(BtfError { offset: 0 }),
        }
    }

    fn string(&self, at: u32) -> &'a str {
        let rest = self.strings.get(at as usize..).unwrap_or_default();
        let end = rest.iter().position(|&b| b == 0).unwrap_or(rest.len());
        std::str::from_utf8(&rest[..end]).unwrap_or_default()
    }
}

fn word(data: &[u8], at: usize) -> Result<u32, BtfError> {
    super::wire::read(data.get(at..).unwrap_or_default()).ok_or(BtfError { offset: at })
}

fn entry_at(data: &[u8], at: usize) -> Result<Entry, BtfError> {
    let info = word(data, at + 4)?;
    Ok(Entry {
        at,
        name: word(data, at)?,
        kind: (info >> 24) & 0x1f,
        count: info & 0xffff,
        flagged: info >> 31 == 1,
        size_or_type: word(data, at + 8)?,
    })
}

/// Bytes after an entry's fixed part; `None` for a kind that we do not know, whose length we cannot know either.
fn extra_len(entry: &Entry) -> Option<usize> {
    let count = entry.count as usize;
    Some(match entry.kind {
        KIND_INT | KIND_VAR | KIND_DECL_TAG => 4,
        KIND_ARRAY => 12,
        KIND_STRUCT | KIND_UNION | KIND_DATASEC | KIND_ENUM64 => count * 12,
        KIND_ENUM | KIND_FUNC_PROTO => count * 8,
        2 | 7..=12 | 16 | 18 => 0,
        _ => return None,
    })
}

#[cfg(test)]
mod tests;
