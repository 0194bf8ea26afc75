//! The document as a page for people: complete without a script.

use askama::Template;
use serde_json::Value;

use super::{METHODS, Object};

/// Everything that the reference page shows.
#[derive(Template)]
#[template(path = "reference.html")]
pub struct Reference {
    version: String,
    about: Vec<Text>,
    schemes: Vec<Scheme>,
    groups: Vec<Group>,
    shapes: Vec<Shape>,
}

/// A text with its words of code set apart.
type Text = Vec<Piece>;

struct Piece {
    text: String,
    is_code: bool,
}

struct Scheme {
    name: String,
    about: Text,
}

struct Group {
    name: String,
    about: Text,
    operations: Vec<Shown>,
}

struct Shown {
    id: String,
    method: String,
    path: String,
    summary: Text,
    about: Vec<Text>,
    who: String,
    limit: String,
    parameters: Vec<Row>,
    request: Vec<Body>,
    answers: Vec<Answer>,
}

struct Row {
    name: String,
    place: String,
    is_required: bool,
    kind: Kind,
    about: Text,
}

struct Body {
    media_type: String,
    kind: Kind,
    example: String,
}

struct Answer {
    status: String,
    about: Text,
    bodies: Vec<Body>,
}

struct Shape {
    name: String,
    about: Text,
    kind: Kind,
    members: Vec<Row>,
}

/// A type in words, with the shape that it names.
#[derive(Default)]
struct Kind {
    before: String,
    shape: Option<String>,
    after: String,
}

impl Reference {
    /// The page of a described document.
    pub fn of(document: &Value) -> Self {
        let schemes = members(&document["components"]["securitySchemes"]);
        let tags = document["tags"].as_array().into_iter().flatten();
        Self {
            version: string(&document["info"]["version"]),
            about: paragraphs(&document["info"]["description"]),
            schemes: schemes
                .map(|(name, scheme)| Scheme {
                    name: name.clone(),
                    about: text(&scheme["description"]),
                })
                .collect(),
            groups: tags.map(|tag| group(document, tag)).collect(),
            shapes: members(&document["components"]["schemas"]).map(shape).collect(),
        }
    }
}

fn group(document: &Value, tag: &Value) -> Group {
    let operations = members(&document["paths"]).flat_map(|(path, item)| {
        METHODS.iter().filter_map(move |method| {
            let operation = item.get(method)?;
            (operation["tags"][0] == tag["name"]).then(|| shown(document, path, method, operation))
        })
    });
    Group {
        name: string(&tag["name"]),
        about: text(&tag["description"]),
        operations: operations.collect(),
    }
}

fn shown(document: &Value, path: &str, method: &str, operation: &Value) -> Shown {
    let parameters = operation["parameters"].as_array().into_iter().flatten();
    Shown {
        id: string(&operation["operationId"]),
        method: method.to_ascii_uppercase(),
        path: path.to_owned(),
        summary: text(&operation["summary"]),
        about: paragraphs(&operation["description"]),
        who: who(&operation["security"]),
        limit: string(&operation["x-rate-limit"]),
        parameters: parameters
            .map(|parameter| Row {
                name: string(&parameter["name"]),
                place: string(&parameter["in"]),
                is_required: parameter["required"] == true,
                kind: kind(&parameter["schema"]),
                about: text(&parameter["description"]),
            })
            .collect(),
        request: bodies(&operation["requestBody"]["content"]),
        answers: members(&operation["responses"])
            .map(|(status, answer)| {
                let answer = resolved(document, answer);
                let is_refusal = !status.starts_with('2');
                Answer {
                    status: status.clone(),
                    about: text(&answer["description"]),
                    bodies: if is_refusal { Vec::new() } else { bodies(&answer["content"]) },
                }
            })
            .collect(),
    }
}

/// Whom an operation answers, in words.
fn who(security: &Value) -> String {
    let schemes = security.as_array().into_iter().flatten();
    let schemes: Vec<&str> = schemes
        .map(|scheme| members(scheme).next().map_or("anybody", |(name, _)| name.as_str()))
        .collect();
    match &schemes[..] {
        [] => "For anybody.".to_owned(),
        schemes => format!("For {}.", schemes.join(", or with the token of: ")),
    }
    .replace("For key", "With the token of: key")
    .replace("For operator", "With the token of: operator")
}

fn bodies(content: &Value) -> Vec<Body> {
    members(content)
        .map(|(media_type, media)| Body {
            media_type: media_type.clone(),
            kind: kind(&media["schema"]),
            example: match &media["example"] {
                Value::Null => String::new(),
                example => serde_json::to_string_pretty(example).unwrap_or_default(),
            },
        })
        .collect()
}

fn shape((name, schema): (&String, &Value)) -> Shape {
    let required = schema["required"].as_array();
    let is_required = |name: &str| required.is_some_and(|all| all.iter().any(|one| one == name));
    let members: Vec<Row> = members(&schema["properties"])
        .map(|(name, member)| Row {
            name: name.clone(),
            place: String::new(),
            is_required: is_required(name),
            kind: kind(member),
            about: text(&member["description"]),
        })
        .collect();
    let kind = if members.is_empty() { kind(schema) } else { Kind::default() };
    Shape { name: name.clone(), about: text(&schema["description"]), kind, members }
}

/// What a schema takes, in words.
fn kind(schema: &Value) -> Kind {
    if let Some(target) = schema["$ref"].as_str() {
        let shape = target.rsplit('/').next().map(str::to_owned);
        return Kind { shape, ..Kind::default() };
    }
    let forms = ["oneOf", "anyOf", "allOf"].into_iter().find_map(|name| schema[name].as_array());
    if let Some(forms) = forms {
        let mut forms: Vec<Kind> = forms.iter().map(kind).collect();
        let named = forms.iter().position(|form| form.shape.is_some()).unwrap_or(0);
        let first = forms.swap_remove(named);
        let others: Vec<String> =
            forms.into_iter().map(|form| form.shape.unwrap_or(form.before)).collect();
        let after = format!("{} or {}", first.after, others.join(" or "));
        return match first.shape {
            Some(_) => Kind { after, ..first },
            None => Kind { before: format!("{}{after}", first.before), ..Kind::default() },
        };
    }
    let words = type_words(schema);
    if words.contains(&"array") {
        let items = kind(&schema["items"]);
        return Kind { before: format!("list of {}", items.before), ..items };
    }
    Kind { before: format!("{}{}", words.join(" or "), bounds(schema)), ..Kind::default() }
}

fn type_words(schema: &Value) -> Vec<&str> {
    match &schema["type"] {
        Value::String(kind) => vec![kind],
        Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    }
}

/// What bounds a value, in words.
fn bounds(schema: &Value) -> String {
    let listed = schema["enum"].as_array().into_iter().flatten().map(string).collect::<Vec<_>>();
    let mut words = String::new();
    if !listed.is_empty() {
        words = format!(": {}", listed.join(", "));
    }
    for (member, word) in [
        ("minimum", "from"),
        ("maximum", "to"),
        ("minLength", "of at least"),
        ("maxLength", "of at most"),
        ("pattern", "that matches"),
    ] {
        if !schema[member].is_null() {
            words = format!("{words} {word} {}", string(&schema[member]));
        }
    }
    words
}

fn resolved<'a>(document: &'a Value, value: &'a Value) -> &'a Value {
    let target = value["$ref"].as_str().and_then(|target| target.strip_prefix('#'));
    target.and_then(|target| document.pointer(target)).unwrap_or(value)
}

fn members(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flat_map(Object::iter)
}

fn string(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

fn paragraphs(value: &Value) -> Vec<Text> {
    let text = value.as_str().unwrap_or_default();
    text.split("\n\n").filter(|part| !part.is_empty()).map(pieces).collect()
}

fn text(value: &Value) -> Text {
    pieces(value.as_str().unwrap_or_default())
}

/// Every second part between backticks is code.
fn pieces(text: &str) -> Text {
    let parts = text.split('`').enumerate();
    let pieces = parts.map(|(nth, part)| Piece { text: part.to_owned(), is_code: nth % 2 == 1 });
    pieces.filter(|piece| !piece.text.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn types_are_said_in_words_and_name_their_shape() {
        let said = |schema: Value| {
            let Kind { before, shape, after } = kind(&schema);
            format!("{before}[{}]{after}", shape.unwrap_or_default())
        };
        let hash = json!({ "$ref": "#/components/schemas/Hash" });

        assert_eq!(said(json!({ "type": "integer", "minimum": 1 })), "integer from 1[]");
        assert_eq!(said(json!({ "type": "array", "items": hash })), "list of [Hash]");
        assert_eq!(said(json!({ "oneOf": [{ "type": "null" }, hash] })), "[Hash] or null");
        assert_eq!(said(json!({ "type": ["string", "null"] })), "string or null[]");
    }

    #[test]
    fn a_text_is_escaped_and_its_code_set_apart() {
        let document = json!({
            "info": { "version": "1", "description": "Send `<a>`.\n\nNot <b>." },
        });
        let page = Reference::of(&document).render().unwrap();

        assert!(page.contains("<p>Send <code>&#60;a&#62;</code>.</p>"), "{page}");
        assert!(page.contains("<p>Not &#60;b&#62;.</p>"), "{page}");
    }
}
