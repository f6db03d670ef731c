//! The text of scrapes, line by line.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::model::{AlertKind, FileKind, Resource, ResourceStatus, SocketState, Step};

fn tool() -> ToolMeasured {
    ToolMeasured {
        name: "fetch".parse().unwrap(),
        uid: 1000,
        totals: ToolTotals {
            cpu_ns: 1_000_000_001,
            actions: BTreeMap::from([((Step::CleanUp, None), 1), ((Step::Limit, Some(Resource::Fds)), 2)]),
            alerts: BTreeMap::from([((AlertKind::Limit(Resource::Fds), ResourceStatus::Warning), 3)]),
            ended: BTreeMap::from([(None, 4)]),
            ..ToolTotals::default()
        },
        now: Some(ToolNow {
            instances: 1,
            memory_bytes: 7 << 20,
            fds: BTreeMap::from([(FileKind::Socket, 5)]),
            connections: BTreeMap::from([(SocketState::CloseWait, 6)]),
            operation_ms: 1500,
            limits: [InForce {
                base: 10,
                current: 2500,
                max: 30_000,
            }; 4],
            used: [0.25, 0.5, 1.0, 1.5],
            needs: [0, 2000, 0, 0],
            reaches_max_s: [Some(60.5), None, None, None],
            ..ToolNow::default()
        }),
    }
}

fn all() -> Measured {
    Measured {
        agent: AgentMeasured {
            version: "a\"b\\c\nd".to_owned(),
            ..AgentMeasured::default()
        },
        tools: vec![tool()],
    }
}

#[test]
fn samples_are_in_base_units_and_exact() {
    let text = all().text(Format::Prometheus);
    for line in [
        "resmgr_tool_cpu_seconds_total{tool=\"fetch\",user=\"1000\"} 1.000000001",
        "resmgr_tool_memory_bytes{tool=\"fetch\",user=\"1000\",kind=\"counted\"} 7340032",
        "resmgr_tool_open_fds{tool=\"fetch\",user=\"1000\",kind=\"socket\"} 5",
        "resmgr_tool_connections{tool=\"fetch\",user=\"1000\",state=\"close_wait\"} 6",
        "resmgr_tool_operation_cpu_seconds{tool=\"fetch\",user=\"1000\"} 1.500",
        "resmgr_tool_cpu_limit_seconds{tool=\"fetch\",user=\"1000\",kind=\"current\"} 2.500",
        "resmgr_tool_fd_limit{tool=\"fetch\",user=\"1000\",kind=\"max\"} 30000",
        "resmgr_tool_cpu_need_seconds{tool=\"fetch\",user=\"1000\"} 2.000",
        "resmgr_tool_limit_reached_seconds{tool=\"fetch\",user=\"1000\",resource=\"memory\"} 60.5",
        "resmgr_tool_limit_used_ratio{tool=\"fetch\",user=\"1000\",resource=\"connections\"} 1.5",
        "resmgr_tool_ended_total{tool=\"fetch\",user=\"1000\",cause=\"unknown\"} 4",
        "resmgr_alerts_total{tool=\"fetch\",user=\"1000\",kind=\"fds\",level=\"warning\"} 3",
        "resmgr_actions_total{tool=\"fetch\",user=\"1000\",step=\"clean_up\",resource=\"all\"} 1",
        "resmgr_actions_total{tool=\"fetch\",user=\"1000\",step=\"limit\",resource=\"fds\"} 2",
        "resmgr_agent_info{version=\"a\\\"b\\\\c\\nd\"} 1",
    ] {
        assert!(text.lines().any(|one| one == line), "{line}\n{text}");
    }
    // What is not known is left out, and is not 0.
    let unknown = ["resmgr_tool_memory_need_bytes{", "resmgr_agent_resident_bytes "];
    let is_unknown = |line: &str| unknown.iter().any(|name| line.starts_with(name));
    assert!(!text.lines().any(is_unknown), "{text}");
}

#[test]
fn families_are_whole_and_each_comes_once() {
    for format in [Format::Prometheus, Format::OpenMetrics] {
        let text = all().text(format);
        let mut families = BTreeSet::new();
        let mut family = ("", "");
        for line in text.lines() {
            if let Some(help) = line.strip_prefix("# HELP ") {
                let (name, help) = help.split_once(' ').unwrap();
                assert!(families.insert(name) && help.ends_with('.'), "{line}");
                family.0 = name;
            } else if let Some(kind) = line.strip_prefix("# TYPE ") {
                family.1 = kind.strip_prefix(family.0).unwrap();
                let is_total = family.0.ends_with("_total");
                assert_eq!(
                    is_total,
                    family.1 == " counter" && format == Format::Prometheus,
                    "{line}"
                );
            } else if line != "# EOF" {
                let name = line.split(['{', ' ']).next().unwrap();
                let is_open_counter = family.1 == " counter" && format == Format::OpenMetrics;
                assert_eq!(
                    name.strip_suffix("_total").filter(|_| is_open_counter).unwrap_or(name),
                    family.0
                );
            }
        }
        assert_eq!(text.ends_with("\n# EOF\n"), format == Format::OpenMetrics);
    }
}

#[test]
fn instances_come_together_in_one_series() {
    let mut now = tool().now.unwrap();
    let mut other = now.clone();
    other.used = [1.0, 0.1, 0.1, 0.1];
    other.status = ResourceStatus::Critical;
    other.reaches_max_s = [Some(1.5), Some(9.0), None, None];
    now += other;
    assert_eq!(
        (now.instances, now.memory_bytes, now.fds[&FileKind::Socket]),
        (2, 14 << 20, 10)
    );
    assert_eq!(now.limits[0].current, 5000);
    assert_eq!(now.used.map(f64::to_bits), [1.0, 0.5, 1.0, 1.5].map(f64::to_bits));
    assert_eq!(now.status, ResourceStatus::Critical);
    assert_eq!(
        now.reaches_max_s.map(|at| at.map(f64::to_bits)),
        [Some(1.5), Some(9.0), None, None].map(|at| at.map(f64::to_bits))
    );
}

#[test]
fn the_format_is_the_one_that_is_liked_best() {
    for (header, format) in [
        ("", Format::Prometheus),
        ("*/*", Format::Prometheus),
        ("text/html, */*;q=0.1", Format::Prometheus),
        ("application/openmetrics-text", Format::OpenMetrics),
        ("Application/OpenMetrics-Text; version=\"1.0.0\"", Format::OpenMetrics),
        ("application/openmetrics-text;version=2.0.0", Format::Prometheus),
        // As Prometheus 2.42 and 3.0 ask.
        (
            "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,\
             text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
            Format::OpenMetrics,
        ),
        (
            "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,text/plain;version=1.0.0;q=0.4,*/*;q=0.1",
            Format::OpenMetrics,
        ),
        (
            "application/openmetrics-text;q=0.2,text/plain;q=0.9",
            Format::Prometheus,
        ),
        ("application/openmetrics-text;q=0", Format::Prometheus),
        ("application/openmetrics-text;q=nonsense", Format::Prometheus),
    ] {
        assert_eq!(Format::accepted(header), format, "{header}");
    }
}
