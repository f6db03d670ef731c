//! What experts are taken to cost before anything is known of a series: what they cost on others. Knows no clock.
//!
//! Each row is an expert's, in their order: the mean over series of the share of its need that was not used, of the
//! samples beyond it, and of those at which it changed. docs/learning.md says which series, and how the table is made.

use serde::{Deserialize, Serialize};

use super::experts::{EXPERTS, Prices};

/// So many samples of a new series outweigh what is known of others.
const WORTH: f32 = 100.0;

/// What a series is of: what there is, or what flows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Quantity {
    /// Memory, descriptors, connections, tasks: it stays until it is given back.
    Stock,
    /// CPU, traffic, requests: so much in an interval.
    Flow,
}

/// What the experts are taken to cost.
pub(super) fn costs(quantity: Quantity, prices: Prices) -> [f32; EXPERTS] {
    let rates = match quantity {
        Quantity::Stock => &STOCK,
        Quantity::Flow => &FLOW,
    };
    rates.map(|[idle, beyond, changed]| WORTH * (idle + prices.breach * beyond + prices.change * changed))
}

const STOCK: [[f32; 3]; EXPERTS] = [
    [0.064, 0.0183, 0.0282],
    [0.128, 0.0096, 0.0185],
    [0.302, 0.0032, 0.0113],
    [0.542, 0.0011, 0.0055],
    [0.088, 0.0076, 0.0121],
    [0.159, 0.0036, 0.0067],
    [0.329, 0.0016, 0.0044],
    [0.586, 0.0009, 0.0034],
    [0.128, 0.0056, 0.0089],
    [0.200, 0.0026, 0.0047],
    [0.367, 0.0013, 0.0033],
    [0.615, 0.0007, 0.0025],
    [0.225, 0.0040, 0.0065],
    [0.293, 0.0015, 0.0027],
    [0.440, 0.0005, 0.0016],
    [0.656, 0.0003, 0.0012],
    [0.464, 0.0039, 0.0055],
    [0.507, 0.0014, 0.0021],
    [0.600, 0.0005, 0.0010],
    [0.753, 0.0003, 0.0006],
    [0.290, 0.0032, 0.0079],
    [0.328, 0.0018, 0.0051],
    [0.510, 0.0005, 0.0020],
    [0.187, 0.0121, 0.0082],
    [0.230, 0.0065, 0.0048],
    [0.447, 0.0026, 0.0017],
    [0.135, 0.0277, 0.0069],
    [0.174, 0.0127, 0.0029],
    [0.371, 0.0034, 0.0007],
    [0.104, 0.0583, 0.0065],
    [0.139, 0.0274, 0.0023],
    [0.363, 0.0036, 0.0005],
    [0.091, 0.0054, 0.0121],
    [0.133, 0.0034, 0.0076],
    [0.064, 0.0183, 0.0282],
    [0.128, 0.0096, 0.0185],
];

const FLOW: [[f32; 3]; EXPERTS] = [
    [0.373, 0.0692, 0.1114],
    [0.421, 0.0512, 0.0980],
    [0.523, 0.0285, 0.0756],
    [0.669, 0.0118, 0.0471],
    [0.450, 0.0181, 0.0282],
    [0.493, 0.0120, 0.0225],
    [0.584, 0.0067, 0.0174],
    [0.722, 0.0035, 0.0119],
    [0.516, 0.0066, 0.0101],
    [0.554, 0.0044, 0.0080],
    [0.634, 0.0027, 0.0065],
    [0.755, 0.0014, 0.0047],
    [0.585, 0.0026, 0.0036],
    [0.617, 0.0016, 0.0025],
    [0.684, 0.0008, 0.0018],
    [0.788, 0.0004, 0.0014],
    [0.642, 0.0020, 0.0024],
    [0.669, 0.0012, 0.0016],
    [0.726, 0.0006, 0.0010],
    [0.816, 0.0002, 0.0007],
    [0.583, 0.0029, 0.0048],
    [0.603, 0.0022, 0.0041],
    [0.704, 0.0009, 0.0027],
    [0.517, 0.0081, 0.0069],
    [0.541, 0.0063, 0.0055],
    [0.658, 0.0036, 0.0034],
    [0.465, 0.0200, 0.0067],
    [0.491, 0.0141, 0.0046],
    [0.615, 0.0070, 0.0025],
    [0.423, 0.0456, 0.0063],
    [0.448, 0.0300, 0.0036],
    [0.585, 0.0120, 0.0023],
    [0.450, 0.0181, 0.0282],
    [0.477, 0.0140, 0.0246],
    [0.373, 0.0692, 0.1114],
    [0.421, 0.0512, 0.0980],
];
