//! The vocabulary as JSON Schema (2020-12), made from the declarations.

use serde_json::{Map, Value, json};

use super::{FieldType, KindSpec};
use crate::event::STREAM_ID_CHARS_MAX;

/// The JSON Schema of a kind's data. The file in `schemas/json/` is this, and a test holds it there.
///
/// The schema says what is *used*: a field that breaks it becomes null, one in `required` quarantines the event, and
/// unknown fields are kept. A field whose schema is `false` is taken out.
#[must_use]
pub fn json_schema(kind: &KindSpec) -> Value {
    let properties: Map<String, Value> = kind
        .fields
        .iter()
        .map(|field| {
            let mut schema = field_schema(field.ty, field.required);
            schema.insert("description".into(), field.doc.trim().into());
            (field.name.to_owned(), Value::Object(schema))
        })
        .chain(kind.never_stored.iter().map(|name| ((*name).to_owned(), Value::Bool(false))))
        .collect();
    let required: Vec<&str> = kind.fields.iter().filter(|field| field.required).map(|field| field.name).collect();
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": format!("urn:streamgauge:{}:1", kind.name),
        "title": kind.name,
        "description": kind.doc.trim(),
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": true,
    })
}

fn field_schema(ty: FieldType, required: bool) -> Map<String, Value> {
    let typed = |name: &str| if required { json!(name) } else { json!([name, "null"]) };
    let schema = match ty {
        FieldType::Bool => json!({ "type": typed("boolean") }),
        FieldType::Int { min, max } => json!({ "type": typed("integer"), "minimum": min, "maximum": max }),
        FieldType::Decimal { min, max } => json!({ "type": typed("number"), "minimum": min, "maximum": max }),
        FieldType::Text { max_chars } => json!({ "type": typed("string"), "maxLength": max_chars }),
        FieldType::Time => json!({ "type": typed("string"), "format": "date-time" }),
        FieldType::Scalar { max_chars } => {
            let mut types = vec!["string", "number", "boolean"];
            if !required {
                types.push("null");
            }
            json!({ "type": types, "maxLength": max_chars })
        }
        FieldType::Stream => json!({ "type": typed("string"), "minLength": 1, "maxLength": STREAM_ID_CHARS_MAX }),
        FieldType::Word { words, aliases } => {
            let aliases = aliases.iter().map(|(alias, _)| alias);
            let mut values: Vec<Value> = words.iter().chain(aliases).map(|word| json!(word)).collect();
            if !required {
                values.push(Value::Null);
            }
            json!({ "enum": values })
        }
    };
    match schema {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}
