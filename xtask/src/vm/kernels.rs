//! The kernels of the matrix, each pinned to a package. Fetches none.

use anyhow::{Result, bail};

use super::packages::Package;

/// A kernel of the matrix.
#[derive(Debug)]
pub(super) struct Kernel {
    /// What `--kernel` calls it.
    pub(super) name: &'static str,
    /// The package that holds its image.
    pub(super) package: Package,
}

/// Every kernel, oldest first: the lowest that is supported, then what the stable releases run, then the newest.
pub(super) static KERNELS: [Kernel; 4] = [
    Kernel {
        name: "5.10",
        package: Package {
            suite: "bullseye",
            newest_of: r"^linux-image-5\.10\..*-cloud-amd64$",
            name: "linux-image-5.10.0-32-cloud-amd64",
            version: "5.10.223-1",
            sha256: "fb4a1229952d892138532c1d9f40a7fd0bd408e4dcf969c12e4524b6a89fdcb8",
        },
    },
    Kernel {
        name: "6.1",
        package: Package {
            suite: "bookworm",
            newest_of: r"^linux-image-6\.1\..*-cloud-amd64$",
            name: "linux-image-6.1.0-50-cloud-amd64",
            version: "6.1.176-1",
            sha256: "efe19f605b6f54a8352e68d85a629abb2d30b72a085faef603a9152590baa791",
        },
    },
    Kernel {
        name: "6.12",
        package: Package {
            suite: "trixie",
            newest_of: r"^linux-image-6\.12\..*-cloud-amd64$",
            name: "linux-image-6.12.117+deb13-cloud-amd64",
            version: "6.12.117-1",
            sha256: "e9893e5295d0549b8852611f12a4b8b5f6cc4b8128dcc2086b9847793b904ab7",
        },
    },
    Kernel {
        name: "7.2",
        package: Package {
            suite: "sid",
            // The image of 7.x is apart from the package named after it. In sid, the newest may be a later series.
            newest_of: r"^linux-binary-[0-9].*-cloud-amd64$",
            name: "linux-binary-7.2.13+deb14-cloud-amd64",
            version: "7.2.13-1",
            sha256: "03e41f1c34c16583462f029e81944a85ebcdb78098c258dedfa1cfdd680a27f8",
        },
    },
];

impl Kernel {
    /// Whether it lies between the oldest and the newest.
    pub(super) fn is_between(&self) -> bool {
        let ends = [KERNELS.first(), KERNELS.last()];
        ends.into_iter().flatten().all(|end| end.name != self.name)
    }
}

/// The shell and the tools that the tests start.
pub(super) const BUSYBOX: Package = Package {
    suite: "bookworm",
    newest_of: "^busybox-static$",
    name: "busybox-static",
    version: "1:1.35.0-4+deb12u1+b1",
    sha256: "3d3fdbe91d4660c873e14b092c213fe81c1da6362daa236eb25d0171eb108744",
};

/// What the benchmark of reactions is measured beside, and the library that it needs.
pub(super) const EARLYOOM: Package = Package {
    suite: "bookworm",
    newest_of: "^earlyoom$",
    name: "earlyoom",
    version: "1.7-1+b1",
    sha256: "e79ba8c738ba1bdc89cff51d40956439231299f71a17604e7e47f91a0eb475ce",
};
pub(super) const LIBC: Package = Package {
    suite: "bookworm",
    newest_of: "^libc6$",
    name: "libc6",
    version: "2.36-9+deb12u14",
    sha256: "ba4f88f73dbc3ae9055f3c20f4523bfdbaf1ad13ff95e258924f77d20b4fbedf",
};

/// What scrapes the agent, and checks its metrics and rules, on the host.
pub(super) const PROMETHEUS: Package = Package {
    suite: "bookworm",
    newest_of: "^prometheus$",
    name: "prometheus",
    version: "2.42.0+ds-5+deb12u1",
    sha256: "81d59a24fce84f7fbe97a45a4f2914b6a5881b5cd1db2a6a0e129e515e1a5f55",
};

/// The kernels that a list with commas names, in the matrix's order; all, where there is no list.
pub(super) fn named(list: Option<&str>) -> Result<Vec<&'static Kernel>> {
    let Some(list) = list else {
        return Ok(KERNELS.iter().collect());
    };
    let asked: Vec<&str> = list.split(',').collect();
    let known = || KERNELS.each_ref().map(|kernel| kernel.name).join(", ");
    if let Some(unknown) = asked.iter().find(|name| !KERNELS.iter().any(|k| k.name == **name)) {
        bail!("there is no kernel `{unknown}` in the matrix: it has {}", known());
    }
    Ok(KERNELS.iter().filter(|kernel| asked.contains(&kernel.name)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_are_chosen_by_name_in_the_matrixs_order() {
        let names = |list| -> Vec<&str> { named(list).unwrap().iter().map(|kernel| kernel.name).collect() };
        assert_eq!(names(None), ["5.10", "6.1", "6.12", "7.2"]);
        assert_eq!(names(Some("7.2,5.10")), ["5.10", "7.2"]);
        let error = named(Some("6.1,6.2")).unwrap_err().to_string();
        assert!(error.contains("`6.2`") && error.contains("6.12"), "{error}");
    }
}
