//! Where somebody is led back to: always one of our own views, so that no link leads anybody elsewhere.

use uuid::Uuid;

/// The views, by their paths.
const VIEWS: [&str; 6] = ["/", "/machines", "/history", "/missed", "/gateway", "/models"];

/// An address of ours: `/?from=50#a-…`. Whatever is not known as such is left out.
pub(crate) fn safe(address: &str) -> String {
    let (address, fragment) = address.split_once('#').unwrap_or((address, ""));
    let (path, query) = address.split_once('?').unwrap_or((address, ""));
    let story = path.strip_prefix("/alerts/").and_then(|id| id.parse::<Uuid>().ok()).map(|id| format!("/alerts/{id}"));
    let view = || VIEWS.into_iter().find(|view| *view == path).unwrap_or("/").to_owned();
    let mut safe = story.unwrap_or_else(view);
    if let Some(from) = query.strip_prefix("from=").and_then(|from| from.parse::<usize>().ok()) {
        safe += &format!("?from={from}");
    }
    if let Some(alert) = fragment.strip_prefix("a-").and_then(|id| id.parse::<Uuid>().ok()) {
        safe += &format!("#a-{alert}");
    }
    safe
}

/// The view that a request belongs to: a form on an alert's card belongs to that card.
pub(crate) fn view_of(address: &str) -> String {
    match address.strip_prefix("/alerts/").and_then(|rest| rest.split_once('/')) {
        Some((alert, _)) => safe(&format!("/#a-{alert}")),
        None if address.starts_with("/models") || address.starts_with("/gateway/") => "/models".to_owned(),
        None => safe(address),
    }
}

/// The address of the sign-in that leads back there. `ended`: somebody was signed in before.
pub(crate) fn through_sign_in(back: &str, ended: bool) -> String {
    let back = safe(back).replace('#', "%23");
    match (back.as_str(), ended) {
        ("/", false) => "/sign-in".to_owned(),
        ("/", true) => "/sign-in?ended=true".to_owned(),
        (_, false) => format!("/sign-in?back={back}"),
        (_, true) => format!("/sign-in?back={back}&ended=true"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_views_are_led_back_to() {
        let card = "/#a-0192d3f0-0000-7000-8000-000000000001";
        let story = "/alerts/0192d3f0-0000-7000-8000-000000000001";
        for same in ["/", "/models", "/missed", "/gateway", "/?from=50", card, story] {
            assert_eq!(safe(same), same);
        }
        for (given, expected) in [
            ("https://evil.example/", "/"),
            ("//evil.example", "/"),
            ("/\\evil.example", "/"),
            ("/models?done=stopped#x", "/models"),
            ("/?from=-1&x=<script>", "/"),
            ("/sign-out", "/"),
            ("/#a-\"><script>", "/"),
            ("/models\r\nSet-Cookie: a=b", "/"),
            ("", "/"),
        ] {
            assert_eq!(safe(given), expected, "{given}");
        }
    }

    #[test]
    fn a_form_belongs_to_the_view_that_it_stood_on() {
        let alert = "0192d3f0-0000-7000-8000-000000000001";
        assert_eq!(view_of(&format!("/alerts/{alert}/feedback")), format!("/#a-{alert}"));
        assert_eq!((view_of("/models/stop"), view_of("/gateway/stop")), ("/models".into(), "/models".into()));
        assert_eq!((view_of("/live?from=50"), view_of("/missed")), ("/?from=50".into(), "/missed".into()));
        assert_eq!(through_sign_in("/", false), "/sign-in");
        assert_eq!(through_sign_in("/missed", true), "/sign-in?back=/missed&ended=true");
        assert_eq!(through_sign_in(&format!("/#a-{alert}"), false), format!("/sign-in?back=/%23a-{alert}"));
    }
}
