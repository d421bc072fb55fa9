//! What all pages have around their content.

use std::borrow::Cow;

use explaind_core::domain::feedback::UserRole;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use uuid::Uuid;

use super::assets::VERSION;
use super::views;
use crate::web::Web;
use crate::web::access::{Actor, SignedIn};
use crate::web::words::Words;

fn document(words: &Words, title: &str, body: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang=(words.language.code()) {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) }
                link rel="icon" href={ "/assets/icon.svg?v=" (*VERSION) } type="image/svg+xml";
                link rel="stylesheet" href={ "/assets/app.css?v=" (*VERSION) };
                script src={ "/assets/app.js?v=" (*VERSION) } defer {}
                script src={ "/assets/forms.js?v=" (*VERSION) } defer {}
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
    /// One alert.
    Story(Uuid),
    /// The machines.
    Machines,
    /// Past alerts.
    History,
    /// The form for an event without an alert.
    Missed,
    /// The gateway.
    Gateway,
    /// The models.
    Models,
}

/// What the head of every page leads to, in its order; those of people who change something only for them.
const WAYS: [Place; 6] =
    [Place::Alerts(0), Place::Machines, Place::History, Place::Missed, Place::Gateway, Place::Models];

impl Place {
    fn path(self) -> Cow<'static, str> {
        match self {
            Self::Alerts(_) => "/".into(),
            Self::Story(id) => format!("/alerts/{id}").into(),
            Self::Machines => "/machines".into(),
            Self::History => "/history".into(),
            Self::Missed => "/missed".into(),
            Self::Gateway => "/gateway".into(),
            Self::Models => "/models".into(),
        }
    }

    /// What it is called in the head.
    fn name(self, words: &Words) -> &'static str {
        let views = views::Words::of(words.language);
        match self {
            Self::Alerts(_) | Self::Story(_) => words.page.alerts,
            Self::Machines => views.machines,
            Self::History => views.history,
            Self::Missed => words.page.missed,
            Self::Gateway => views.gateway,
            Self::Models => words.page.models,
        }
    }

    /// Whether it is, or belongs to, what a way in the head leads to.
    fn is_at(self, way: Self) -> bool {
        match self {
            Self::Alerts(_) | Self::Story(_) => matches!(way, Self::Alerts(_)),
            _ => self == way,
        }
    }

    /// What leads past the head, and where.
    fn skip(self, words: &Words) -> (&'static str, &'static str) {
        match self {
            Self::Alerts(_) | Self::Story(_) => (words.page.skip_to_alerts, "#board"),
            Self::Models => (words.page.skip_to_models, "#models"),
            Self::Missed => (words.page.skip_to_form, "#missed"),
            Self::Machines | Self::History | Self::Gateway => (views::Words::of(words.language).skip, "#view"),
        }
    }

    fn is_for(self, role: UserRole) -> bool {
        self != Self::Missed || role >= UserRole::Technician
    }
}

/// A page for somebody who is signed in.
pub(crate) fn page(web: &Web, actor: &Actor, words: &Words, place: Place, content: &Markup) -> Markup {
    let title = format!("{} · explaind", web.gateway);
    let title = match place {
        Place::Alerts(0) => title,
        Place::Alerts(waiting) => format!("({waiting}) {title}"),
        Place::Models => format!("{} · {title}", words.models.title),
        Place::Missed => format!("{} · {title}", words.judge.title),
        _ => format!("{} · {title}", place.name(words)),
    };
    let (skip, target) = place.skip(words);
    let path = place.path();
    document(
        words,
        &title,
        &html! {
            body {
                a .skip href=(target) { (skip) }
                header .top {
                    p .brand { (mark()) span { "explaind" } }
                    p .gateway { (web.gateway) }
                    nav .ways aria-label=(words.page.ways) {
                        @for way in WAYS.into_iter().filter(|way| way.is_for(actor.role)) {
                            a href=(way.path()) aria-current=[place.is_at(way).then_some("page")] { (way.name(words)) }
                        }
                    }
                    p #line .line hidden { span .lamp aria-hidden="true" {} span .text {} }
                    div .who {
                        (languages(words, actor.session.as_ref(), &path))
                        p {
                            span .person { (actor.name) }
                            @if *actor.name != *actor.role.as_str() || actor.role.as_str() != words.role(actor.role) {
                                " " span .role { (words.role(actor.role)) }
                            }
                        }
                        @if let Some(session) = &actor.session {
                            form method="post" action="/sign-out" {
                                input type="hidden" name="csrf" value=(session.csrf);
                                button .quiet type="submit" { (words.page.sign_out) }
                            }
                        }
                    }
                }
                (for_script(words, &path))
                p #lost .lost role="alert" hidden {}
                p #news .unseen role="status" {}
                @if target == "#board" { noscript { p .note { (words.page.no_scripts) } } }
                main { (content) }
            }
        },
    )
}

/// The sign-in. `session`: where somebody is signed in all the same.
pub(crate) fn sign_in(web: &Web, words: &Words, session: Option<&SignedIn>, content: &Markup) -> Markup {
    let switch = languages(words, session, "/sign-in");
    sheet(web, words, words.page.sign_in, &html! { (content) (switch) })
}

/// An error as a page.
pub(crate) fn page_of_error(web: &Web, words: &Words, content: &Markup) -> Markup {
    sheet(web, words, words.page.error, content)
}

fn sheet(web: &Web, words: &Words, title: &str, content: &Markup) -> Markup {
    document(
        words,
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

/// The switch between the languages: one button per other language, in its own words.
fn languages(words: &Words, session: Option<&SignedIn>, back: &str) -> Markup {
    html! {
        form .languages method="post" action="/language" aria-label=(words.page.choose_language) {
            @if let Some(session) = session { input type="hidden" name="csrf" value=(session.csrf); }
            input type="hidden" name="back" value=(back);
            @for (code, name) in [("en", words.page.english), ("de", words.page.german)] {
                @if code != words.language.code() {
                    button .quiet type="submit" name="language" value=(code) lang=(code) { (name) }
                }
            }
        }
    }
}

/// What the script says, in the page's language.
fn for_script(words: &Words, view: &str) -> Markup {
    let page = &words.page;
    html! {
        div #words hidden data-view=(view) data-live=(page.live) data-not-connected=(page.not_connected)
            data-lost=(page.lost) data-new-alert=(page.new_alert) data-new-alerts=(page.new_alerts)
            data-session-over=(page.session_over) data-sign-in-again=(page.sign_in_again)
            data-changed-now=(page.changed_now) data-failed=(page.failed) data-waiting=(page.waiting)
            data-not-sent=(page.not_sent) data-local=(words.judge.local) {}
    }
}

/// A phrase whose gap is filled with something to be typed as it stands.
pub(super) fn with_code(phrase: &str, gaps: &[(&str, &str)]) -> Markup {
    let mut out = String::new();
    let mut rest = phrase;
    while let Some((before, after)) = rest.split_once('{') {
        let (gap, after) = after.split_once('}').unwrap_or((after, ""));
        let code = gaps.iter().find(|(name, _)| *name == gap).map_or("", |(_, code)| code);
        out += &html! { (before) code { (code) } }.into_string();
        rest = after;
    }
    out += &html! { (rest) }.into_string();
    PreEscaped(out)
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
