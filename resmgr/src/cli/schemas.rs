//! What `--json` prints, as JSON schemas in docs/schemas: a change of one is seen by whoever makes it. Tests alone.

use std::{fs, path::Path};

use schemars::{JsonSchema, Schema, schema_for};

use crate::{
    audit::Audit,
    model::Alert,
    protocol::{CleanUpReport, HistoryReport, LimitsSet, Registered, StatusReport, ToolStatus},
};

fn schema<T: JsonSchema>() -> Schema {
    schema_for!(T)
}

/// Schemas by the name of their file, which is the command's.
fn schemas() -> [(&'static str, Schema); 8] {
    [
        ("status", schema::<StatusReport>()),
        ("explain", schema::<Vec<ToolStatus>>()),
        ("history", schema::<HistoryReport>()),
        ("alerts", schema::<Alert>()),
        ("limits", schema::<LimitsSet>()),
        ("attach", schema::<Registered>()),
        ("cleanup", schema::<CleanUpReport>()),
        ("audit", schema::<Audit>()),
    ]
}

#[test]
fn what_json_looks_like_is_what_is_written_down() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/schemas");
    for (name, schema) in schemas() {
        let path = folder.join(format!("{name}.json"));
        let now = serde_json::to_string_pretty(&schema).unwrap() + "\n";
        if std::env::var_os("RESMGR_WRITE_SCHEMAS").is_some() {
            fs::create_dir_all(&folder).unwrap();
            fs::write(&path, &now).unwrap();
        }
        let written = fs::read_to_string(&path).unwrap_or_default();
        assert!(
            now == written,
            "`{name} --json` is not what docs/schemas/{name}.json says: what is read by programs may gain fields, and loses none; \
             RESMGR_WRITE_SCHEMAS=1 cargo test -p resmgr schemas writes it anew"
        );
    }
}
