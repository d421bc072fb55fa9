//! What all pages have around their content.

use explaind_core::explain::words::Language;
use maud::{DOCTYPE, Markup, html};

use super::assets::VERSION;
use super::models::Words;
use super::views;
use crate::web::Web;
use crate::web::access::Actor;

fn document(title: &str, body: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) }
                link rel="icon" href={ "/assets/icon.svg?v=" (*VERSION) } type="image/svg+xml";
                link rel="stylesheet" href={ "/assets/app.css?v=" (*VERSION) };
                script src={ "/assets/app.js?v=" (*VERSION) } defer {}
                script src={ "/assets/views.js?v=" (*VERSION) } defer {}
            }
            (body)
        }
    }
}

/// Which page it is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// The alerts, of which so many wait for somebody.
    Alerts(usize),
    /// The machines.
    Machines,
    /// Past alerts.
    History,
    /// The gateway.
    Gateway,
    /// The models.
    Models,
    /// One alert.
    Story,
}

impl Place {
    /// Where the ways in the head lead, and which of them is this one. An alert's story belongs to the alerts.
    fn ways(self, language: Language) -> [(&'static str, &'static str, bool); 5] {
        let (models, words) = (Words::of(language), views::Words::of(language));
        let alerts = matches!(self, Self::Alerts(_) | Self::Story);
        [
            ("/", models.alerts, alerts),
            ("/machines", words.machines, self == Self::Machines),
            ("/history", words.history, self == Self::History),
            ("/gateway", words.gateway, self == Self::Gateway),
            ("/models", models.models, self == Self::Models),
        ]
    }

    /// The element that holds its content, and the words that lead past the head to it.
    fn content(self, language: Language) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::Alerts(_) | Self::Story => ("#board", "Skip to the alerts", "en"),
            Self::Models => ("#models", Words::of(language).skip, language.code()),
            Self::Machines | Self::History | Self::Gateway => {
                ("#view", views::Words::of(language).skip, language.code())
            }
        }
    }
}

/// A page for somebody who is signed in.
pub(crate) fn page(web: &Web, actor: &Actor, language: Language, place: Place, content: &Markup) -> Markup {
    let ways = place.ways(language);
    let title = format!("{} · explaind", web.gateway);
    let title = match place {
        Place::Alerts(0) => title,
        Place::Alerts(waiting) => format!("({waiting}) {title}"),
        _ => {
            let here = ways.iter().find(|(_, _, here)| *here).map_or("", |(_, name, _)| name);
            format!("{here} · {title}")
        }
    };
    let at = Some("page");
    let (content_id, skip, skip_language) = place.content(language);
    document(
        &title,
        &html! {
            body {
                a .skip href=(content_id) lang=(skip_language) { (skip) }
                header .top {
                    p .brand { (mark()) span { "explaind" } }
                    p .gateway { (web.gateway) }
                    nav .ways lang=(language.code()) {
                        @for (way, name, here) in ways {
                            a href=(way) aria-current=[at.filter(|_| here)] { (name) }
                        }
                    }
                    p #line .line hidden { span .lamp aria-hidden="true" {} span .text {} }
                    div .who {
                        p {
                        span .person { (actor.name) }
                        @if *actor.name != *actor.role.as_str() { " " span .role { (actor.role.as_str()) } }
                    }
                        @if let Some(session) = &actor.session {
                            form method="post" action="/sign-out" {
                                input type="hidden" name="csrf" value=(session.csrf);
                                button .quiet type="submit" { "Sign out" }
                            }
                        }
                    }
                }
                p #lost .lost role="alert" hidden {}
                p #news .unseen role="status" {}
                @if content_id == "#board" { noscript { p .note { "Without scripts this page does not renew itself: reload it to see what is new." } } }
                main { (content) }
            }
        },
    )
}

/// A page for anybody.
pub(crate) fn bare(web: &Web, title: &str, content: &Markup) -> Markup {
    document(
        &format!("{title} · explaind"),
        &html! {
            body .bare {
                main .sheet {
                    p .brand { (mark()) span { "explaind" } }
                    p .gateway { (web.gateway) }
                    (content)
                }
            }
        },
    )
}

/// The sign of the house: three bars about a middle line.
fn mark() -> Markup {
    html! {
        svg .logo viewBox="0 0 24 24" aria-hidden="true" focusable="false" {
            rect x="11" y="3" width="11" height="4" rx="1" {}
            rect x="5" y="10" width="8" height="4" rx="1" opacity="0.6" {}
            rect x="11" y="17" width="6" height="4" rx="1" {}
            rect x="11" y="1" width="2" height="22" rx="1" {}
        }
    }
}
