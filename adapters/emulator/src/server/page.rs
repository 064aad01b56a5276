//! The consent page and the error page: plain HTML without scripts.

use super::request::Call;
use crate::authority::{AuthorizeError, Environment, Proposal};

/// The parameters of the consent request that the form carries on to the decision.
const CARRIED: [&str; 7] = [
    "client_id",
    "redirect_uri",
    "response_type",
    "scope",
    "state",
    "code_challenge",
    "code_challenge_method",
];

pub(super) fn consent(call: &Call, proposal: &Proposal, companies: &[String]) -> String {
    let hidden: String = CARRIED
        .iter()
        .filter_map(|name| call.query.first(name).map(|value| (name, value)))
        .map(|(name, value)| format!("<input type=\"hidden\" name=\"{name}\" value=\"{}\">", escape(value)))
        .collect();
    let scopes: String =
        proposal.scopes.iter().map(|scope| format!("<li><code>{}</code></li>", escape(scope))).collect();
    let company = if proposal.needs_company { company_choice(companies) } else { String::new() };
    let environment = match proposal.environment {
        Environment::Sandbox => "sandbox",
        Environment::Production => "production",
    };
    let client_id = escape(call.query.first("client_id").unwrap_or(""));
    page(
        "Connect a company",
        &format!(
            "<p>The app <code>{client_id}</code> ({environment} keys) asks for</p><ul>{scopes}</ul>\
             <form method=\"post\" action=\"/connect/oauth2\">{hidden}{company}\
             <p><button name=\"decision\" value=\"approve\">Connect</button> \
             <button name=\"decision\" value=\"deny\">No, thanks</button></p></form>"
        ),
    )
}

fn company_choice(companies: &[String]) -> String {
    let options: String = companies
        .iter()
        .enumerate()
        .map(|(index, realm)| {
            let checked = if index == 0 { " checked" } else { "" };
            let realm = escape(realm);
            format!("<p><label><input type=\"radio\" name=\"realm\" value=\"{realm}\"{checked}> Company {realm}</label></p>")
        })
        .collect();
    format!(
        "<fieldset><legend>For which company?</legend>{options}<p><label>or another realm ID (10 to 16 digits): \
         <input name=\"realm_typed\" inputmode=\"numeric\" pattern=\"[0-9]{{10,16}}\"></label></p></fieldset>"
    )
}

/// Shown instead of a redirect that would go where nobody registered it (RED-1).
pub(super) fn refusal(error: AuthorizeError, call: &Call) -> String {
    let got = |name| {
        let value = call.query.first(name).or_else(|| call.form.first(name)).unwrap_or("(absent)");
        format!("<p>{name}: <code>{}</code></p>", escape(value))
    };
    let text = escape(&error.to_string());
    page("This request cannot be taken", &format!("<p>{text}</p>{}{}", got("client_id"), got("redirect_uri")))
}

fn page(title: &str, content: &str) -> String {
    format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>{title}</title>\
         <meta name=\"viewport\" content=\"width=device-width\">\
         <style>body{{font:16px/1.5 sans-serif;max-width:36em;margin:3em auto;padding:0 1em}}</style></head>\
         <body><h1>{title}</h1>{content}<hr><p><small>An emulator of Intuit's service. Nothing here is real.\
         </small></p></body></html>\n"
    )
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            _ => escaped.push(character),
        }
    }
    escaped
}
