//! As much of Grafana's dashboard model (schema version 38, Grafana 10.1) as ours need.

use crate::query::{Place, Query};
use serde::Serialize;
use serde_json::{Value, json};

/// The height of a panel, and the width of the grid, in Grafana's units.
const PANEL_HEIGHT: u32 = 8;
const STAT_HEIGHT: u32 = 4;
const GRID_WIDTH: u32 = 24;
const COLUMNS: u32 = 3;
const STAT_COLUMNS: u32 = 6;

#[derive(Clone, Debug)]
pub struct Board {
    /// Also the name of its file. Never changed once it was released: links lead to it.
    pub uid: &'static str,
    pub title: &'static str,
    pub description: &'static str,
    pub rows: Vec<Row>,
}

#[derive(Clone, Debug)]
pub struct Row {
    pub title: &'static str,
    pub panels: Vec<Panel>,
}

#[derive(Clone, Debug)]
pub struct Panel {
    pub title: &'static str,
    /// What it shows, and when to worry.
    pub description: &'static str,
    pub kind: Kind,
    pub unit: Unit,
    pub lines: Vec<Line>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Graph,
    /// One number, the last.
    Stat,
}

/// In Grafana's spelling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    Count,
    Bytes,
    BytesPerSecond,
    Seconds,
    Milliseconds,
    RequestsPerSecond,
    PerSecond,
    /// 0 to 1.
    Share,
}

impl Unit {
    fn id(self) -> &'static str {
        match self {
            Unit::Count => "short",
            Unit::Bytes => "bytes",
            Unit::BytesPerSecond => "Bps",
            Unit::Seconds => "s",
            Unit::Milliseconds => "ms",
            Unit::RequestsPerSecond => "reqps",
            Unit::PerSecond => "cps",
            Unit::Share => "percentunit",
        }
    }
}

#[derive(Clone, Debug)]
pub struct Line {
    pub query: Query,
    /// Labels in double braces are filled in.
    pub legend: &'static str,
    /// Shows nothing while all is well, as a failure that has not happened.
    pub may_be_empty: bool,
}

/// A line that always has something to show.
pub fn line(query: Query, legend: &'static str) -> Line {
    Line { query, legend, may_be_empty: false }
}

/// A line that shows nothing while all is well.
pub fn rare(query: Query, legend: &'static str) -> Line {
    Line { query, legend, may_be_empty: true }
}

pub fn graph(title: &'static str, unit: Unit, description: &'static str, lines: Vec<Line>) -> Panel {
    Panel { title, description, kind: Kind::Graph, unit, lines }
}

pub fn stat(title: &'static str, unit: Unit, description: &'static str, line: Line) -> Panel {
    Panel { title, description, kind: Kind::Stat, unit, lines: vec![line] }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct GridPos {
    x: u32,
    y: u32,
    w: u32,
    h: u32,
}

impl Board {
    pub fn panels(&self) -> impl Iterator<Item = &Panel> {
        self.rows.iter().flat_map(|row| &row.panels)
    }

    /// The dashboard as Grafana imports it.
    pub fn json(&self) -> String {
        let (mut panels, mut y, mut id) = (Vec::new(), 0, 0);
        for row in &self.rows {
            id += 1;
            let at = GridPos { x: 0, y, w: GRID_WIDTH, h: 1 };
            panels.push(json!({
                "id": id, "type": "row", "title": row.title, "collapsed": false, "gridPos": at, "panels": [],
            }));
            y += 1;
            let (mut x, mut height) = (0, 0);
            for panel in &row.panels {
                let (w, h) = match panel.kind {
                    Kind::Graph => (GRID_WIDTH / COLUMNS, PANEL_HEIGHT),
                    Kind::Stat => (GRID_WIDTH / STAT_COLUMNS, STAT_HEIGHT),
                };
                if x + w > GRID_WIDTH {
                    (x, y, height) = (0, y + height, 0);
                }
                id += 1;
                panels.push(panel.json(id, &GridPos { x, y, w, h }));
                (x, height) = (x + w, height.max(h));
            }
            y += height;
        }
        let board = json!({
            "uid": self.uid,
            "title": self.title,
            "description": self.description,
            "tags": ["etcd", "keelstone"],
            "schemaVersion": 38,
            "version": 1,
            "editable": false,
            "graphTooltip": 1,
            "refresh": "30s",
            "time": { "from": "now-1h", "to": "now" },
            "timezone": "browser",
            "templating": { "list": variables() },
            "annotations": { "list": [] },
            "links": [],
            "panels": panels,
        });
        serde_json::to_string_pretty(&board).expect("a tree of values has no key but strings") + "\n"
    }
}

impl Panel {
    fn json(&self, id: u32, at: &GridPos) -> Value {
        let datasource = json!({ "type": "prometheus", "uid": "${datasource}" });
        let targets = self.lines.iter().zip('A'..).map(|(line, id)| {
            json!({
                "refId": id,
                "datasource": datasource,
                "expr": line.query.text(Place::Panel),
                "legendFormat": line.legend,
                "editorMode": "code",
                "range": self.kind == Kind::Graph,
                "instant": self.kind == Kind::Stat,
            })
        });
        let (kind, options) = match self.kind {
            Kind::Graph => (
                "timeseries",
                json!({
                    "legend": { "displayMode": "list", "placement": "bottom", "showLegend": true, "calcs": [] },
                    "tooltip": { "mode": "multi", "sort": "desc" },
                }),
            ),
            Kind::Stat => (
                "stat",
                json!({
                    "reduceOptions": { "values": false, "calcs": ["lastNotNull"], "fields": "" },
                    "orientation": "auto", "textMode": "auto", "colorMode": "none", "graphMode": "none",
                    "justifyMode": "auto",
                }),
            ),
        };
        json!({
            "id": id,
            "type": kind,
            "title": self.title,
            "description": self.description,
            "datasource": datasource,
            "gridPos": at,
            "targets": targets.collect::<Vec<_>>(),
            "options": options,
            "fieldConfig": { "defaults": { "unit": self.unit.id(), "min": 0 }, "overrides": [] },
        })
    }
}

fn variables() -> Value {
    let source = json!({ "type": "prometheus", "uid": "${datasource}" });
    let of_labels = |name: &str, label: &str, query: &str, multi: bool| {
        let mut variable = json!({
            "name": name, "label": label, "type": "query", "datasource": source, "query": query, "refresh": 2, "sort": 1,
            "multi": multi, "includeAll": multi, "hide": 0, "regex": "", "skipUrlSync": false, "options": [], "current": {},
        });
        if multi {
            variable["allValue"] = ".*".into();
        }
        variable
    };
    json!([
        {
            "name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus", "hide": 0,
            "regex": "", "refresh": 1, "multi": false, "includeAll": false, "skipUrlSync": false, "options": [],
            "current": {},
        },
        of_labels("job", "Cluster", "label_values(etcd_server_has_leader, job)", false),
        of_labels("instance", "Member", "label_values(etcd_server_has_leader{job=\"$job\"}, instance)", true),
    ])
}
