//! Orders about memory: what is reserved and given back, and what is touched.

use resmgr_tests::raw;

use crate::{Answer, Held, number};

/// Does an order; `None` where it is none of these.
pub(crate) fn obey(words: &[&str], held: &mut Held) -> Option<Answer> {
    let answer = match *words.first()? {
        // Written, not only reserved: each page is resident.
        "touch" => number(words, 1).map(|bytes| {
            held.memory.push(vec![1; bytes]);
            String::new()
        }),
        // Writes what is held again: pages that are shared with children become its own.
        "rewrite" => {
            for memory in &mut held.memory {
                std::hint::black_box(memory).fill(2);
            }
            Ok(String::new())
        }
        // Gives back all that was touched.
        "forget" => {
            held.memory.clear();
            Ok(String::new())
        }
        // Reserves memory by mmap, changes how much by mremap, gives it back by munmap.
        "map" => number(words, 1).and_then(|bytes| {
            held.mapped = Some(raw::Reserved::map(bytes)?);
            Ok(String::new())
        }),
        "remap" => number(words, 1).and_then(|bytes| {
            held.mapped.as_mut().ok_or("nothing is mapped")?.resize(bytes)?;
            Ok(String::new())
        }),
        "unmap" => {
            held.mapped = None;
            Ok(String::new())
        }
        // Moves the break up.
        "brk" => number(words, 1).and_then(|bytes| {
            raw::grow_break(bytes)?;
            Ok(String::new())
        }),
        _ => return None,
    };
    Some(answer)
}
