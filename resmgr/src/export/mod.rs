//! How numbers are shown: units for people, tables that fit the terminal. Pure: values in, text out.

mod table;
mod units;

pub use table::{Align, Column, Table};
pub use units::{amount, bytes, cores, count, duration};
