//! Which columns of the list there is room for, and how wide they are. Pure.

use crate::export::Align;

/// Names are not given more columns than that.
const WIDEST_NAME: usize = 40;
/// Nor bars.
const WIDEST_BARS: usize = 30;

/// A column of the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Column {
    Name,
    Status,
    Processes,
    Memory,
    MemoryBars,
    Cpu,
    CpuBars,
    Operation,
    Fds,
    FdsBars,
    Connections,
    ConnectionsBars,
}

/// Columns as they stand, each with its heading and the least that it needs.
const COLUMNS: [(Column, &str, usize); 12] = [
    (Column::Name, "  TOOL", 17),
    (Column::Status, "STATUS", 9),
    (Column::Processes, "PROCS", 5),
    (Column::Memory, "MEMORY/LIMIT", 13),
    (Column::MemoryBars, "", 6),
    (Column::Cpu, "CPU%", 6),
    (Column::CpuBars, "", 6),
    (Column::Operation, "CPU TIME/LIMIT", 14),
    (Column::Fds, "FDS", 9),
    (Column::FdsBars, "", 6),
    (Column::Connections, "CONNS", 7),
    (Column::ConnectionsBars, "", 6),
];

/// Which columns are there where not all fit, those that are needed most first.
const NEEDED: [Column; 12] = [
    Column::Name,
    Column::Status,
    Column::Memory,
    Column::Cpu,
    Column::Fds,
    Column::Connections,
    Column::Processes,
    Column::MemoryBars,
    Column::Operation,
    Column::CpuBars,
    Column::FdsBars,
    Column::ConnectionsBars,
];

impl Column {
    const fn is_bars(self) -> bool {
        matches!(
            self,
            Self::MemoryBars | Self::CpuBars | Self::FdsBars | Self::ConnectionsBars
        )
    }

    pub(super) const fn align(self) -> Align {
        match self {
            Self::Name | Self::Status => Align::Left,
            _ => Align::Right,
        }
    }
}

/// The columns that there is room for, as they stand, with their widths and headings.
pub(super) fn columns(room: usize, longest_name: usize) -> Vec<(Column, usize, &'static str)> {
    let least = |column: &Column| {
        COLUMNS
            .iter()
            .find(|(other, ..)| other == column)
            .map_or(0, |(.., least)| *least)
    };
    let mut left = room;
    let mut taken = Vec::new();
    for column in NEEDED {
        let gap = usize::from(!taken.is_empty());
        let Some(rest) = left.checked_sub(gap + least(&column)) else {
            break;
        };
        left = rest;
        taken.push(column);
    }
    if taken.is_empty() {
        return vec![(Column::Name, room, "  TOOL")];
    }
    let there = |(column, heading, least): &(Column, &'static str, usize)| {
        taken.contains(column).then_some((*column, *least, *heading))
    };
    let mut columns: Vec<_> = COLUMNS.iter().filter_map(there).collect();
    // Names as long as they are; then bars, evenly.
    let wider = (longest_name + 2)
        .min(WIDEST_NAME)
        .saturating_sub(columns[0].1)
        .min(left);
    columns[0].1 += wider;
    left -= wider;
    let bars = columns.iter().filter(|(column, ..)| column.is_bars()).count();
    if let Some(each) = left.checked_div(bars) {
        for (_, wide, _) in columns.iter_mut().filter(|(column, ..)| column.is_bars()) {
            *wide = (*wide + each).min(WIDEST_BARS);
        }
    }
    columns
}
