//! A tree of processes that open and close in every way there is, at random, and hold still when asked to.
//!
//! `churn conduct SEED` obeys orders on standard input: `OPERATIONS FILL`, each of which is a round. At the end of a round
//! all hold still, and it prints a line of JSON. The other ways to start it are its own.

mod board;
mod children;
mod conductor;
mod connect;
mod end;
mod held;
mod open;
mod pass;
mod process;
mod worker;

use std::{error::Error, sync::Arc};

use resmgr_tests::{Kind, Random, raw};
use rustix::io::Errno;

use board::{Board, Slot};
use held::Table;
use process::Process;
use worker::Worker;

fn main() -> Result<(), Box<dyn Error>> {
    // A thread that panics must not leave the others waiting for it.
    let print = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        print(panic);
        raw::exit_process(101);
    }));
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["conduct", seed] => {
            conductor::raise_limits();
            conductor::main(seed.parse()?)
        }
        ["try", kind] => {
            conductor::raise_limits();
            try_once(Kind::named(kind).ok_or("no such kind")?)
        }
        ["resume", kind, slot, round, operations] => {
            let board = Board::open()?;
            board.note(Kind::named(kind).ok_or("no such kind")?, &Ok(()));
            Process::new(board, Slot(slot.parse()?), round.parse()?, true)?.live(operations.parse()?)
        }
        ["leaf", seed, operations] => {
            let alone = worker(Board::open()?)?;
            children::work_and_end(&alone, seed.parse()?, operations.parse()?)
        }
        _ => Err("churn conduct SEED | try KIND".into()),
    }
}

/// Tries one thing in a process of its own, and prints how it was refused, or 0.
fn try_once(kind: Kind) -> Result<(), Box<dyn Error>> {
    let result = worker(conductor::prepare(0)?)?.perform(kind);
    println!("{}", result.err().map_or(0, Errno::raw_os_error));
    Ok(())
}

fn worker(board: Board) -> Result<Worker, Errno> {
    Ok(Worker {
        board,
        random: Random::new(0, [0; 3]),
        table: Arc::new(Table::of_this_thread(false)?),
        may_unshare: false,
        may_have_children: true,
        weights: worker::ALL,
    })
}
