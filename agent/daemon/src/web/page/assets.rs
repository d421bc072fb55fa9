//! Style, script and icon, embedded in the binary.

use std::sync::LazyLock;

use axum::extract::Path;
use axum::http::HeaderValue;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};

use crate::web::problem::Problem;

const STYLE: &str = include_str!("../assets/app.css");
const SCRIPT: &str = include_str!("../assets/app.js");
const FORMS: &str = include_str!("../assets/forms.js");
const VIEWS: &str = include_str!("../assets/views.js");
const ICON: &str = include_str!("../assets/icon.svg");

/// Changes with the files, so that browsers may keep them for ever and still never show an old one.
pub(crate) static VERSION: LazyLock<String> = LazyLock::new(|| {
    let mut hasher = crc32fast::Hasher::new();
    [STYLE, SCRIPT, FORMS, VIEWS, ICON].iter().for_each(|text| hasher.update(text.as_bytes()));
    format!("{:08x}", hasher.finalize())
});

/// `GET /assets/{name}`.
pub(crate) async fn serve(Path(name): Path<String>) -> Result<Response, Problem> {
    let (kind, text) = match name.as_str() {
        "app.css" => ("text/css; charset=utf-8", STYLE),
        "app.js" => ("text/javascript; charset=utf-8", SCRIPT),
        "forms.js" => ("text/javascript; charset=utf-8", FORMS),
        "views.js" => ("text/javascript; charset=utf-8", VIEWS),
        "icon.svg" => ("image/svg+xml", ICON),
        _ => return Err(Problem::unknown("there is no such file")),
    };
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static(kind)),
        (CACHE_CONTROL, HeaderValue::from_static("public, max-age=31536000, immutable")),
    ];
    Ok((headers, text).into_response())
}
