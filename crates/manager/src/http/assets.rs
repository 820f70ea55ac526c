//! Style, script and picture, built in. Their names carry their hash, so a browser keeps them for ever and an update
//! takes effect at once.

use std::sync::LazyLock;

use axum::{
    extract::Path,
    http::header,
    response::{IntoResponse, Response},
};
use sha2::{Digest, Sha256};

use super::fail::Fail;

pub(crate) struct Asset {
    pub(crate) path: String,
    pub(crate) content: &'static str,
    kind: &'static str,
}

impl Asset {
    fn new(stem: &str, extension: &str, kind: &'static str, content: &'static str) -> Self {
        let hash = hex::encode(&Sha256::digest(content)[..6]);
        Self { path: format!("/static/{stem}.{hash}.{extension}"), content, kind }
    }
}

pub(crate) static STYLE: LazyLock<Asset> =
    LazyLock::new(|| Asset::new("style", "css", "text/css; charset=utf-8", include_str!("../../assets/style.css")));
pub(crate) static SCRIPT: LazyLock<Asset> =
    LazyLock::new(|| Asset::new("live", "js", "text/javascript; charset=utf-8", include_str!("../../assets/live.js")));
pub(crate) static LOGO: LazyLock<Asset> =
    LazyLock::new(|| Asset::new("logo", "svg", "image/svg+xml", include_str!("../../assets/logo.svg")));

/// `GET /static/{name}`.
pub(crate) async fn get(Path(name): Path<String>) -> Result<Response, Fail> {
    let wanted = |asset: &&Asset| asset.path.strip_prefix("/static/") == Some(name.as_str());
    let asset = [&*STYLE, &SCRIPT, &LOGO].into_iter().find(wanted).ok_or(Fail::NotFound)?;
    let headers = [(header::CONTENT_TYPE, asset.kind), (header::CACHE_CONTROL, "public, max-age=31536000, immutable")];
    Ok((headers, asset.content).into_response())
}
