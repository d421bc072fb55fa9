//! What all pages have around their content.

use explaind_core::explain::words::Language;
use maud::{DOCTYPE, Markup, html};

use super::assets::VERSION;
use super::models::Words;
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
    /// The models.
    Models,
}

/// A page for somebody who is signed in.
pub(crate) fn page(web: &Web, actor: &Actor, language: Language, place: Place, content: &Markup) -> Markup {
    let words = Words::of(language);
    let title = format!("{} · explaind", web.gateway);
    let title = match place {
        Place::Alerts(0) => title,
        Place::Alerts(waiting) => format!("({waiting}) {title}"),
        Place::Models => format!("{} · {title}", words.models),
    };
    let (at, is_models) = (Some("page"), place == Place::Models);
    document(
        &title,
        &html! {
            body {
                @if is_models { a .skip href="#models" lang=(language.code()) { (words.skip) } }
                @else { a .skip href="#board" { "Skip to the alerts" } }
                header .top {
                    p .brand { (mark()) span { "explaind" } }
                    p .gateway { (web.gateway) }
                    nav .ways lang=(language.code()) {
                        a href="/" aria-current=[at.filter(|_| !is_models)] { (words.alerts) }
                        a href="/models" aria-current=[at.filter(|_| is_models)] { (words.models) }
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
                @if !is_models { noscript { p .note { "Without scripts this page does not renew itself: reload it to see what is new." } } }
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
