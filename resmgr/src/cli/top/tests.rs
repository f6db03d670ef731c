//! Screens of the report of a real agent, of tools made from it, in terminals from nothing to 200 columns.

use std::collections::BTreeSet;

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::{
    keys::{ALL, NAMED, Todo},
    pane::Pane,
    state::{RowId, SortBy, Top},
    view,
    watch::Seen,
};
use crate::{
    export::width,
    model::{Resource, ResourceStatus},
    protocol::{ClientError, ProcessStatus, StatusReport},
};

/// What an agent said of a tool named `browser` and its two processes.
const REPORT: &str = include_str!("report.json");

/// So many tools: 0 uses nothing, and each one 1 MiB more than the one before.
fn report(tools: usize) -> (StatusReport, Vec<ProcessStatus>) {
    let mut report: StatusReport = serde_json::from_str(REPORT).unwrap();
    let processes = report.processes.take().unwrap();
    let of_one = report.tools[0].clone();
    report.tools = (0..tools)
        .map(|n| {
            let mut tool = of_one.clone();
            tool.name = format!("tool-{n}").parse().unwrap();
            tool.instance = n as u64;
            tool.usage.memory_bytes = n << 20;
            tool.cpu_share = Some(1.0 / (f64::from(u32::try_from(n).unwrap()) + 1.0));
            tool
        })
        .collect();
    (report, processes)
}

fn seen(tools: usize) -> Seen {
    let (report, mut processes) = report(tools);
    for process in &mut processes {
        process.tool_instance = Some(1);
    }
    Seen { report, processes }
}

fn top(tools: usize) -> Top {
    let mut top = Top::new(SortBy::Memory);
    top.take(Ok(seen(tools)));
    top
}

fn screen(top: &Top, columns: usize, rows: usize) -> Vec<String> {
    let text = view::draw(top, columns, rows).0.text();
    assert_eq!(text.len(), rows);
    for line in &text {
        assert!(width(line) <= columns, "{columns} columns: {line:?}");
    }
    text
}

fn press(top: &mut Top, keys: &str) {
    for key in keys.chars() {
        top.key(KeyCode::Char(key).into());
    }
}

/// The names in the list, from its first row on.
fn names(top: &Top) -> Vec<String> {
    let list = screen(top, 80, 24).into_iter().skip(4);
    let named = list.filter_map(|line| Some(line.split_whitespace().nth(1)?.to_owned()));
    named.take_while(|name| name.starts_with("tool-")).collect()
}

#[test]
fn three_tools_are_a_list_of_three_with_use_limit_and_status() {
    let mut top = top(3);
    let tools = &mut top.report.as_mut().unwrap().tools;
    tools[2].status = ResourceStatus::Critical;
    for columns in [80, 200] {
        let screen = screen(&top, columns, 24);
        assert!(
            screen[3].contains("TOOL") && screen[3].contains("MEMORY/LIMIT"),
            "{screen:#?}"
        );
        assert!(
            screen[4].starts_with("▸ tool-2") && screen[4].contains("critical"),
            "{screen:#?}"
        );
        let limit = crate::export::bytes(top.report.as_ref().unwrap().tools[0].limits.memory.current);
        assert!(screen[4].contains(&format!("2.0M/{limit}")), "{screen:#?}");
        assert!(screen[6].starts_with("▸ tool-0") && screen[7].is_empty(), "{screen:#?}");
        assert!(screen[2].contains("3 tools  1 near their limits"), "{screen:#?}");
        assert!(screen[23].starts_with(" q quit  ? keys"), "{screen:#?}");
    }
    // There is room for more.
    assert!(!screen(&top, 80, 24)[3].contains("CPU TIME/LIMIT"));
    assert!(screen(&top, 200, 24)[3].contains("CPU TIME/LIMIT"));
}

#[test]
fn of_three_hundred_tools_the_selected_one_is_always_there() {
    let mut top = top(300);
    for (key, name) in [
        (KeyCode::End, "tool-0"),
        (KeyCode::Up, "tool-1"),
        (KeyCode::PageUp, "tool-11"),
        (KeyCode::Home, "tool-299"),
        (KeyCode::PageDown, "tool-289"),
        (KeyCode::Down, "tool-288"),
    ] {
        top.key(key.into());
        assert_eq!(top.selected_tool().unwrap().name.to_string(), name);
        for (columns, rows) in [(80, 24), (200, 50), (30, 4), (10, 3)] {
            let screen = screen(&top, columns, rows);
            let shown = name.chars().take(columns.min(16) - 3).collect::<String>();
            assert!(
                screen.iter().any(|line| line.contains(&shown)),
                "{name} at {columns}x{rows}: {screen:#?}"
            );
        }
    }
    // It stays selected where others overtake it.
    press(&mut top, "r");
    assert_eq!(top.selected_tool().unwrap().name.to_string(), "tool-288");
    // Where it goes, its neighbour is.
    top.take(Ok(seen(10)));
    assert!(top.selected_tool().is_some());
}

#[test]
fn a_screen_of_any_size_is_drawn() {
    for tools in [0, 1, 300] {
        let mut top = top(tools);
        top.key(KeyCode::Enter.into());
        for pane in [
            None,
            Some(Pane::Explain),
            Some(Pane::Connections),
            Some(Pane::Descriptors),
            Some(Pane::Keys),
        ] {
            top.pane = pane;
            for columns in (0..30).chain([80, 200]) {
                for rows in 0..26 {
                    screen(&top, columns, rows);
                }
            }
        }
    }
    // Before anything was said.
    screen(&Top::new(SortBy::Memory), 80, 24);
}

#[test]
fn keys_sort_reverse_and_filter() {
    let mut top = top(12);
    assert_eq!(names(&top)[..2], ["tool-11", "tool-10"]);
    press(&mut top, "s");
    assert_eq!(names(&top)[..2], ["tool-0", "tool-1"]);
    press(&mut top, "r");
    assert_eq!(names(&top)[..2], ["tool-11", "tool-10"]);
    press(&mut top, "rm/L-1");
    // What is typed is no key: q would have ended it.
    press(&mut top, "q");
    assert_eq!(names(&top), [""; 0]);
    top.key(KeyCode::Backspace.into());
    assert_eq!(names(&top), ["tool-11", "tool-10", "tool-1"]);
    top.key(KeyCode::Enter.into());
    assert!(screen(&top, 80, 24)[2].contains("filter: L-1"));
    // Esc and the next key may come as one.
    top.key(KeyEvent::new(KeyCode::Char('r'), KeyModifiers::ALT));
    assert_eq!(names(&top)[..2], ["tool-0", "tool-1"]);
    assert_eq!(top.key(KeyCode::Char('q').into()), Todo::Quit);
    assert_eq!(
        top.key(KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL)),
        Todo::Quit
    );
}

#[test]
fn a_tool_is_expanded_to_its_processes() {
    let mut top = top(3);
    assert!(top.expanded_names().is_empty());
    top.key(KeyCode::Down.into());
    top.key(KeyCode::Right.into());
    assert_eq!(top.expanded_names(), BTreeSet::from(["tool-1".parse().unwrap()]));
    let processes = seen(3).processes;
    let screen = screen(&top, 80, 24);
    assert!(screen[5].starts_with("▾ tool-1"), "{screen:#?}");
    for process in &processes {
        let is_of = |line: &&String| line.trim_start().starts_with(&process.pid.to_string());
        let row = screen[6..8]
            .iter()
            .find(is_of)
            .unwrap_or_else(|| panic!("{}: {screen:#?}", process.pid));
        assert!(row.contains("python3 t.py"), "{row}");
        assert!(row.contains(&format!(" {} ", process.open_fds)), "{row}");
    }
    // A process is of its tool: closed, that is what is selected.
    top.key(KeyCode::Down.into());
    assert!(matches!(top.selected, Some(RowId::Process(1, _))));
    top.key(KeyCode::Left.into());
    assert_eq!(top.selected, Some(RowId::Tool(1)));
    assert!(top.expanded_names().is_empty());
}

#[test]
fn panes_say_what_the_report_does_of_the_selected_tool() {
    let mut top = top(1);
    press(&mut top, "e");
    let explained = screen(&top, 80, 24).join("\n");
    assert!(
        explained.contains("limits and history of tool-0 (instance 0)"),
        "{explained}"
    );
    assert!(
        explained.contains("mode throttle") && explained.contains("RESOURCE"),
        "{explained}"
    );
    press(&mut top, "d");
    let tool = top.selected_tool().unwrap();
    let all = tool.usage.file_handles.len();
    let descriptors = screen(&top, 80, 24).join("\n");
    assert!(
        descriptors.contains(&format!("{all} of {}", tool.limits.range(Resource::Fds).current)),
        "{descriptors}"
    );
    for (kind, number) in &tool.usage.file_handles_by_kind {
        let kind = crate::cli::status::kind_name(*kind);
        let is_of = |line: &str| line.starts_with(&kind) && line.ends_with(&number.to_string());
        assert!(descriptors.lines().any(is_of), "{kind}: {descriptors}");
    }
    press(&mut top, "c");
    let peer = top.selected_tool().unwrap().usage.connections[0].remote;
    let connections = screen(&top, 80, 24).join("\n");
    assert!(
        connections.contains(&peer.to_string()) && connections.contains("9 established"),
        "{connections}"
    );
    press(&mut top, "?");
    let keys = screen(&top, 80, 24).join("\n");
    for (key, what) in ALL {
        assert!(keys.contains(key) && keys.contains(what), "{key}: {keys}");
    }
    top.key(KeyCode::Esc.into());
    assert!(top.pane.is_none());
}

#[test]
fn every_key_that_is_named_does_something() {
    for (key, what) in NAMED {
        let code = match key {
            "Enter" => KeyCode::Enter,
            one => KeyCode::Char(one.chars().next().unwrap()),
        };
        let mut top = top(3);
        top.report.as_mut().unwrap().tools[0].ended_s = Some(3);
        let before = screen(&top, 80, 24);
        let todo = top.key(code.into());
        assert!(todo == Todo::Quit || screen(&top, 80, 24) != before, "{key}: {what}");
        assert!(ALL.iter().any(|(keys, _)| keys.contains(key)), "{key}");
    }
}

#[test]
fn a_pane_is_scrolled_to_its_end_and_no_farther() {
    let mut top = top(1);
    press(&mut top, "e");
    let lines = Pane::Explain.lines(top.selected_tool(), 80);
    for _ in 0..100 {
        top.key(KeyCode::PageDown.into());
        let (_, scrolled) = view::draw(&top, 80, 24);
        top.scrolled = scrolled;
    }
    let screen = screen(&top, 80, 24);
    assert!(screen.iter().any(|line| line == lines.last().unwrap()), "{screen:#?}");
    assert!(top.scrolled < lines.len());
}

#[test]
fn what_the_agent_said_last_stays_while_it_is_gone() {
    let mut top = top(3);
    let gone = ClientError::Gone {
        path: "/a/socket".into(),
        message: "it hung up".to_owned(),
    };
    top.take(Err(gone));
    let screen_then = screen(&top, 80, 24);
    assert!(
        screen_then[2].contains("the agent at /a/socket has gone"),
        "{screen_then:#?}"
    );
    assert_eq!(names(&top).len(), 3);
    assert!(screen(&top, 40, 5)[0].contains("old"));
    top.take(Ok(seen(3)));
    assert!(screen(&top, 80, 24)[2].contains("3 tools"));
}

#[test]
fn what_has_ended_is_shown_where_it_is_asked_for() {
    let mut top = top(3);
    top.report.as_mut().unwrap().tools[2].ended_s = Some(65);
    assert_eq!(names(&top), ["tool-1", "tool-0"]);
    press(&mut top, "x");
    let screen = screen(&top, 80, 24);
    assert!(
        screen[6].contains("tool-2") && screen[6].contains("ended 1m"),
        "{screen:#?}"
    );
}

#[test]
fn instances_are_told_apart_where_there_are_several_of_a_name() {
    let mut top = top(3);
    let tools = &mut top.report.as_mut().unwrap().tools;
    for tool in &mut tools[..2] {
        tool.name = "a-name-that-is-much-longer-than-there-is-room-for".parse().unwrap();
    }
    let screen = screen(&top, 80, 24);
    assert!(screen[4].starts_with("▸ tool-2  "), "{screen:#?}");
    assert!(screen[5].contains("… 1 ") && screen[6].contains("… 0 "), "{screen:#?}");
}
