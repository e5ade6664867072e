//! What both ends of a connection tell together.

use super::Page;
use crate::report::ends::Meeting;
use crate::report::units::{clock, count, many};

pub(super) fn write(meeting: &Meeting, page: &mut Page) {
    page.raw(
        "<section class=\"card\" aria-labelledby=\"ends\">\n<h2 id=\"ends\">Both ends</h2>\n<p>",
    )
    .text(&format!(
        "{} seen by both {} and {}; {}.",
        many(meeting.joined, "connection was", "connections were"),
        meeting.hosts[0],
        meeting.hosts[1],
        meeting.clocks
    ))
    .raw("</p>\n");
    if meeting.verdicts.is_empty() {
        page.raw(
            "<p>No segment of a handshake or of a close is known to be lost between them.</p>\n",
        );
    } else {
        page.raw("<div class=\"wide\"><table class=\"sortable\">\n<thead><tr><th scope=\"col\">UTC</th><th scope=\"col\">lost</th><th scope=\"col\">from</th><th scope=\"col\">to</th><th scope=\"col\" class=\"n\">tried again</th><th scope=\"col\">what happened</th><th scope=\"col\">confidence</th></tr></thead>\n<tbody>\n");
        for verdict in &meeting.verdicts {
            let what = verdict
                .sentence
                .split_once(": ")
                .map_or(verdict.sentence.as_str(), |(_, what)| what);
            page.raw("<tr>")
                .element("td", &clock(verdict.wall_ns))
                .element("th scope=\"row\"", verdict.segment)
                .element("td", &verdict.from)
                .element("td", &verdict.to)
                .element("td class=\"n\"", &count(verdict.repeated.into()))
                .raw("<td>")
                .element("code", &verdict.connection)
                .raw("<br>")
                .text(what)
                .raw("</td>")
                .element("td", verdict.confidence)
                .raw("</tr>\n");
        }
        page.raw("</tbody></table></div>\n");
    }
    if meeting.left_out > 0 {
        page.raw("<p class=\"note\">")
            .text(&format!("and {} more", meeting.left_out))
            .raw("</p>\n");
    }
    page.raw("</section>\n");
}
