//! A page of its own: HTML with everything in it, readable on a phone, light and dark. Pure: values in, text out.

use std::fmt::Write as _;

use super::{
    Plot,
    plot::{Line, escaped},
};

/// The style: colours by role, once for light and once for dark.
const STYLE: &str = include_str!("page.css");

/// A part of a page: a heading, plots and what is to be said.
#[derive(Default)]
pub struct Section<'a> {
    /// The heading.
    pub heading: String,
    /// Plots, each with its heading and notes under it.
    pub plots: Vec<(String, Plot<'a>, Vec<String>)>,
    /// Paragraphs.
    pub paragraphs: Vec<String>,
    /// A table: its headings, and its rows.
    pub table: Option<(Vec<&'static str>, Vec<Vec<String>>)>,
}

/// The whole page.
pub fn page(title: &str, introduction: &[String], sections: &[Section<'_>]) -> String {
    let title = escaped(title);
    let mut html = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n<meta name=\"viewport\" \
         content=\"width=device-width, initial-scale=1\"/>\n<meta name=\"color-scheme\" content=\"light \
         dark\"/>\n<title>{title}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<h1>{title}</h1>\n"
    );
    for paragraph in introduction {
        let _ = writeln!(html, "<p>{}</p>", escaped(paragraph));
    }
    for section in sections {
        let _ = writeln!(html, "<section>\n<h2>{}</h2>", escaped(&section.heading));
        for paragraph in &section.paragraphs {
            let _ = writeln!(html, "<p>{}</p>", escaped(paragraph));
        }
        if !section.plots.is_empty() {
            html.push_str("<div class=\"plots\">\n");
            for (heading, plot, notes) in &section.plots {
                html.push_str(&figure(heading, plot, notes));
            }
            html.push_str("</div>\n");
        }
        if let Some((headings, rows)) = &section.table {
            html.push_str(&table(headings, rows));
        }
        html.push_str("</section>\n");
    }
    html.push_str("</body>\n</html>\n");
    html
}

fn figure(heading: &str, plot: &Plot<'_>, notes: &[String]) -> String {
    let Some(svg) = plot.svg() else {
        return String::new();
    };
    let mut html = format!("<figure>\n<h3>{}</h3>\n{svg}\n<p class=\"legend\">", escaped(heading));
    let seen = plot.lines.iter().filter(|line| !line.points.is_empty());
    for Line { name, class, .. } in seen {
        let _ = write!(html, "<span class=\"{class}\">{}</span> ", escaped(name));
    }
    if plot.ahead.len() > 1 {
        html.push_str("<span class=\"ahead\">expected, with the interval that 95 % lie in</span>");
    }
    html.push_str("</p>\n<figcaption>\n");
    for note in notes {
        let _ = writeln!(html, "<p>{}</p>", escaped(note));
    }
    html.push_str("</figcaption>\n</figure>\n");
    html
}

fn table(headings: &[&str], rows: &[Vec<String>]) -> String {
    let mut html = String::from("<div class=\"wide\">\n<table>\n<thead><tr>");
    for heading in headings {
        let _ = write!(html, "<th>{}</th>", escaped(heading));
    }
    html.push_str("</tr></thead>\n<tbody>\n");
    for row in rows {
        html.push_str("<tr>");
        for cell in row {
            let _ = write!(html, "<td>{}</td>", escaped(cell));
        }
        html.push_str("</tr>\n");
    }
    html.push_str("</tbody>\n</table>\n</div>\n");
    html
}
