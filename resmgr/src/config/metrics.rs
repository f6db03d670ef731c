//! Where scrapes are answered, as it is written.

use std::{fmt, net::SocketAddr, str::FromStr};

/// Where scrapes are answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricsListen {
    /// Nowhere.
    Off,
    /// At this address; where its port is 0, at one that is free.
    At(SocketAddr),
}

impl fmt::Display for MetricsListen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("off"),
            Self::At(address) => address.fmt(f),
        }
    }
}

/// A text that says no place.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no address with a port: write one such as 127.0.0.1:9465 or [::1]:9465, or off")]
pub struct MetricsListenError(String);

impl FromStr for MetricsListen {
    type Err = MetricsListenError;

    fn from_str(text: &str) -> Result<Self, MetricsListenError> {
        if text == "off" {
            return Ok(Self::Off);
        }
        let address = text.parse();
        address.map(Self::At).map_err(|_| MetricsListenError(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    //! Places as people write them.
    use super::*;

    #[test]
    fn a_place_is_an_address_with_its_port_or_off() {
        assert_eq!("off".parse(), Ok(MetricsListen::Off));
        for address in ["127.0.0.1:0", "[::1]:9465"] {
            assert_eq!(address.parse(), Ok(MetricsListen::At(address.parse().unwrap())));
        }
        for wrong in [
            "",
            "9465",
            ":9465",
            "127.0.0.1",
            "localhost:9465",
            "127.0.0.1:65536",
            "on",
        ] {
            let error = wrong.parse::<MetricsListen>().unwrap_err().to_string();
            assert!(error.contains("127.0.0.1:9465"), "{error}");
        }
    }
}
