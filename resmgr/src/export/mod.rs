//! How numbers are shown: units for people, tables that fit the terminal, plots, pages. Pure: values in, text out.

mod growth;
mod page;
mod plot;
mod secrets;
mod table;
mod units;

pub use growth::{growth, in_time};
pub use page::{Section, page};
pub use plot::{Ahead, Line, Plot, Round};
pub use secrets::redacted;
pub use table::{Align, Column, Table};
pub use units::{amount, bytes, cores, count, duration, limit, many};
