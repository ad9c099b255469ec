//! The dashboard as a page that paints while it loads: the frame with its places first, then one
//! fragment a widget, which the browser puts into its place without a script (declarative shadow DOM
//! and slots).

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::{
    Dashboard,
    frames::{End, Skeleton, Widget},
    lines::lines,
};
use crate::http::messages::{self, Language};

const PAGE_STYLE: &str = include_str!("page.css");
const GRID_STYLE: &str = include_str!("grid.css");

/// Up to the open element that the widgets go into. `nonce` is that of the page's security policy.
pub fn head(dashboard: &Dashboard, skeleton: &Skeleton, nonce: &str) -> String {
    let language = dashboard.language();
    let say = |name: &str| messages::text(language, &format!("dashboard.{name}"));
    let page = html! {
        (DOCTYPE)
        html lang=(language.tag()) dir=(language.direction()) {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (say("title")) }
                style nonce=(nonce) { (PreEscaped(PAGE_STYLE)) }
            }
            body {
                (PreEscaped(OPEN_HOST))
                (PreEscaped(OPEN_SHADOW))
                style nonce=(nonce) { (PreEscaped(GRID_STYLE)) }
                h1 { (say("title")) }
                div.grid {
                    @for widget in &skeleton.widgets {
                        section aria-labelledby={ "title-" (widget.id) } {
                            h2 id={ "title-" (widget.id) } { (widget.title) }
                            slot name=(widget.id) { p.waiting { (say("waiting")) } }
                        }
                    }
                }
                footer { slot name="end" {} }
                (PreEscaped("</template>"))
            }
        }
    };
    // What follows goes into the host, so that it is not closed here.
    let page = page.into_string();
    page.strip_suffix("</body></html>").map_or(page.clone(), str::to_owned)
}

const OPEN_HOST: &str = "<main>";
const OPEN_SHADOW: &str = "<template shadowrootmode=\"open\">";

/// One widget, for its place.
pub fn fragment(language: Language, widget: &Widget) -> String {
    let say = |name: &str| messages::text(language, &format!("dashboard.{name}"));
    let lines = widget.data.as_ref().map(|data| lines(language, data)).unwrap_or_default();
    html! {
        div slot=(widget.id) class={ "widget " (widget.status) } {
            @if widget.status != "ok" {
                p.state { (widget.user_message.clone().unwrap_or_else(|| say("stale"))) }
            }
            @if lines.is_empty() && widget.status == "ok" {
                p.nothing { (say("nothing")) }
            }
            @if let Some(url) = widget.data.as_ref().and_then(|data| data.get("photoUrl")?.as_str()) {
                img src=(url) alt="" loading="lazy";
            }
            @if !lines.is_empty() {
                dl {
                    @for line in &lines {
                        div { dt { bdi { (line.label) } } dd { bdi { (line.value) } } }
                    }
                }
            }
            @if let Some(as_of) = widget.as_of {
                p.as-of {
                    (say("as-of")) " "
                    bdi {
                        time datetime=(as_of.to_rfc3339()) {
                            span.date { (as_of.format("%Y-%m-%d ")) }
                            (as_of.format("%H:%M:%S UTC"))
                        }
                    }
                }
            }
        }
    }
    .into_string()
}

/// Everything that is still open is closed.
pub fn foot(language: Language, end: &End) -> String {
    let name = if end.complete { "complete" } else { "partial" };
    let said: Markup = html! {
        p slot="end" class=(name) role="status" { (messages::text(language, &format!("dashboard.{name}"))) }
    };
    format!("{}</main></body></html>\n", said.into_string())
}

#[cfg(test)]
mod tests {
    use serde_json::{Map, json};

    use super::*;
    use crate::composition::screens::WIDGETS;

    fn widget(status: &'static str, data: &serde_json::Value) -> Widget {
        let data: Option<Map<_, _>> = data.as_object().cloned();
        Widget { data, ..Widget::of(&WIDGETS[0], status) }
    }

    #[test]
    fn what_an_upstream_says_is_text_and_never_markup() {
        let hostile = "<img src=x onerror=alert(1)>\" onload=\"x";
        let data = json!({ "name": hostile, "photoUrl": "https://x/\"><script>" });
        let page = fragment(Language::English, &widget("ok", &data));
        assert!(page.contains("&lt;img src=x onerror=alert(1)&gt;"), "{page}");
        assert!(!page.contains("<script") && !page.contains("\" onload"), "{page}");
        let picture = page.split("<img ").nth(1).unwrap();
        assert!(picture.starts_with("src=\"https://x/&quot;&gt;&lt;script&gt;\""), "{page}");
    }

    #[test]
    fn a_widget_with_nothing_to_list_has_no_list() {
        let page = fragment(Language::English, &widget("timeout", &serde_json::Value::Null));
        assert!(!page.contains("<dl>"), "{page}");
    }

    #[test]
    fn a_widget_says_why_it_is_not_what_it_should_be() {
        let stale = fragment(Language::English, &widget("stale", &json!({ "rooms": 3 })));
        assert!(stale.contains("An earlier value"), "{stale}");
        let empty = fragment(Language::French, &widget("ok", &json!({})));
        assert!(empty.contains("Rien ici."), "{empty}");
    }
}
