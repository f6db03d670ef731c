//! What a series of samples is like: its highest, its quantiles, trend, bursts and season, and what comes next. Pure
//! functions and small state: reads no clock, file or map.
#![expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    reason = "samples are known to fewer digits than an f32 has, and what is counted here is small"
)]

pub mod burst;
pub mod forecast;
pub mod histogram;
pub mod maxima;
pub mod median;
pub mod profile;
pub mod season;
pub mod trend;
