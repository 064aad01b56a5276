//! Intuit's OAuth 2.0 service, offline: a pure authority and an HTTP server round it.
