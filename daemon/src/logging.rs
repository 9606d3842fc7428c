//! The log: what is written, at which level, and what never is.
//!
//! `MESHD_LOG` chooses levels. Whatever it says, nothing is heard of the code that carries credentials and answers of
//! Kubernetes' API server: its client writes whole bodies (pods with their environment) where it cannot read them, already as a
//! warning, and layers below it write headers as they parse them. What goes wrong there meshd says itself, in `status` and here.

use tracing::{Level, Metadata};
use tracing_subscriber::filter::{FilterExt, filter_fn};
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Registry, fmt};

/// The variable.
const VARIABLE: &str = "MESHD_LOG";
/// Levels where it is not set, or cannot be read.
const USUAL: &str = "info,boringtun=off";
/// Programs' parts that see credentials or bodies: nothing of them is written.
const MUTE: [&str; 2] = ["kube", "kube_client"];
/// Parts that carry them: nothing below a state change, so no header and no frame.
const QUIET: [&str; 7] = [
    "hyper",
    "hyper_util",
    "h2",
    "rustls",
    "tower",
    "tower_http",
    "tokio_util",
];

/// Starts it, on stderr.
pub fn start() {
    let levels = EnvFilter::try_from_env(VARIABLE).unwrap_or_else(|_| EnvFilter::new(USUAL));
    tracing_subscriber::registry()
        .with(
            to(std::io::stderr)
                .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
                .with_filter(levels.and(filter_fn(may_be_written))),
        )
        .init();
}

fn to<W>(writer: W) -> fmt::Layer<Registry, fmt::format::DefaultFields, fmt::format::Format, W>
where
    W: for<'a> fmt::MakeWriter<'a> + 'static,
{
    fmt::layer().with_writer(writer)
}

/// Whether an event or a span may be written at all, whatever levels were chosen.
fn may_be_written(metadata: &Metadata<'_>) -> bool {
    let part = metadata.target().split("::").next().unwrap_or_default();
    !MUTE.contains(&part) && (!QUIET.contains(&part) || *metadata.level() <= Level::INFO)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Page(Arc<Mutex<Vec<u8>>>);

    impl Write for Page {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn whatever_levels_are_chosen_nothing_of_the_kubernetes_client_is_written() {
        let page = Page::default();
        let own = page.clone();
        let levels = EnvFilter::new("trace,kube_client::client=trace,hyper=trace,kube_client[HTTP]=trace");
        let layer = to(move || own.clone()).with_filter(levels.and(filter_fn(may_be_written)));
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            tracing::warn!(target: "kube_client::client", "a body with s3cret");
            tracing::trace!(target: "hyper::proto::h1", "a header with s3cret");
            let span = tracing::debug_span!(target: "kube_client::client::builder", "HTTP", url = "s3cret");
            span.in_scope(|| tracing::error!(target: "kube_client::client::builder", "s3cret"));
            tracing::info!(target: "hyper::client", "connected");
            span.in_scope(|| tracing::trace!(target: "meshd::kube", "own words"));
        });
        let text = String::from_utf8(page.0.lock().unwrap().clone()).unwrap();
        assert!(text.contains("own words") && text.contains("connected"), "{text}");
        assert!(!text.contains("s3cret"), "{text}");
    }
}
