//! How numbers are shown: units for people, tables that fit the terminal, plots, pages, metrics. Pure: values in, text out.

mod growth;
pub mod metrics;
mod page;
mod plot;
mod secrets;
mod table;
mod text;
mod tone;
mod units;

pub use growth::{growth, in_time};
pub use page::{Section, page};
pub use plot::{Ahead, Line, Plot, Round};
pub use secrets::redacted;
pub use table::{Align, Column, Table};
pub use text::{ascii, cut, harmless, padded, sparkline, width, wrapped};
pub use tone::{Span, Tone};
pub use units::{amount, bytes, cores, count, duration, limit, many};
