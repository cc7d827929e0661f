//! config.json with fields that are missing, of another type, or that cannot
//! be: one error, which names the file and the field.
#![allow(clippy::unwrap_used)]

mod support;

use assay_testkit::{TinyModel, config_json};
use serde_json::{Value, json};
use support::{Folder, check_bad, check_good};

#[test]
fn a_config_that_is_no_json_object_is_refused() {
    let folder = Folder::of(&TinyModel::gpt2(1));
    for (text, words) in [
        ("", "EOF while parsing"),
        ("{\"model_type\": ", "EOF while parsing"),
        ("model_type: gpt2", "expected value"),
        ("[1, 2]", "not a JSON object"),
        ("null", "not a JSON object"),
        ("{}", "field model_type is missing"),
        (
            r#"{"model_type": 3}"#,
            "field model_type is 3, not a string",
        ),
    ] {
        folder.write("config.json", text);
        check_bad(folder.path(), &["config.json", words]);
    }
    folder.write("config.json", b"{\"model_type\": \"\xff\"}");
    check_bad(folder.path(), &["config.json", "UTF-8"]);
    let deep = "[".repeat(100_000);
    folder.write("config.json", format!("{{\"model_type\": {deep}"));
    check_bad(folder.path(), &["config.json", "recursion limit"]);
}

#[test]
fn an_unknown_family_is_named_with_the_known_ones() {
    let folder = Folder::of(&TinyModel::gpt2(1));
    folder.config(|c| c["model_type"] = "mamba".into());
    check_bad(
        folder.path(),
        &[
            "config.json",
            "\"mamba\"",
            "gpt_neox, gpt2, gptj, gpt_neo, opt, bloom, llama",
        ],
    );
}

/// Each of these fields must be there and be a count.
fn counts(spec: &TinyModel) -> Vec<String> {
    let config = config_json(spec);
    let ours = [
        "bos_token_id",
        "eos_token_id",
        "rotary_emb_base",
        "rotary_pct",
    ];
    let config = config.as_object().unwrap();
    let fields = config
        .iter()
        .filter(|(k, v)| v.is_u64() && !ours.contains(&k.as_str()));
    fields.map(|(k, _)| k.clone()).collect()
}

fn families() -> [TinyModel; 3] {
    [
        TinyModel::gpt_neox(1),
        TinyModel::gpt2(1),
        TinyModel::llama(1),
    ]
}

fn with(folder: &Folder, spec: &TinyModel, field: &str, value: Value) {
    let mut config = config_json(spec);
    config[field] = value;
    folder.write("config.json", config.to_string());
}

#[test]
fn missing_fields_are_named() {
    // These have a default in transformers' own config classes.
    let optional = ["n_inner", "num_key_value_heads"];
    for spec in families() {
        let folder = Folder::of(&spec);
        let others = [
            "model_type",
            "hidden_act",
            "activation_function",
            "layer_norm_eps",
            "layer_norm_epsilon",
            "rms_norm_eps",
        ];
        let config = config_json(&spec);
        let fields = counts(&spec).into_iter().chain(others.map(str::to_owned));
        for field in fields.filter(|f| !config[f].is_null() && !optional.contains(&f.as_str())) {
            if spec.architecture == assay_testkit::Architecture::Llama
                && field == "max_position_embeddings"
            {
                continue;
            }
            with(&folder, &spec, &field, Value::Null);
            check_bad(
                folder.path(),
                &["config.json", &format!("field {field} is missing")],
            );
        }
    }
}

#[test]
fn counts_that_are_none_are_named() {
    for spec in families() {
        let folder = Folder::of(&spec);
        for field in counts(&spec) {
            for value in [
                json!(0),
                json!(-1),
                json!(2.5),
                json!("32"),
                json!([32]),
                json!(true),
                json!(1u64 << 33),
                json!(u64::MAX),
                json!(i64::MIN),
                json!(1e300),
            ] {
                with(&folder, &spec, &field, value.clone());
                let words = format!("field {field} is {value}, not a");
                check_bad(folder.path(), &["config.json", &words]);
            }
        }
    }
}

/// The largest counts that are let through overflow nothing either.
#[test]
fn huge_counts_are_errors_and_no_overflow() {
    let limit = 1u64 << 31;
    for spec in families() {
        let folder = Folder::of(&spec);
        for field in counts(&spec) {
            // A longer context only lets longer prompts through.
            let harmless = field == "max_position_embeddings";
            with(&folder, &spec, &field, limit.into());
            if harmless {
                check_good(folder.path());
            } else {
                check_bad(folder.path(), &[]);
            }
        }
    }
    let folder = Folder::of(&TinyModel::llama(1));
    folder.config(|c| {
        c["head_dim"] = limit.into();
        c["num_attention_heads"] = limit.into();
        c["num_key_value_heads"] = limit.into();
    });
    check_bad(
        folder.path(),
        &["config.json", "make a model of 3.0e20 parameters"],
    );
    folder.config(|c| {
        c["head_dim"] = (2 * limit).into();
        c["num_attention_heads"] = (2 * limit).into();
        c["num_key_value_heads"] = (2 * limit).into();
    });
    check_bad(folder.path(), &["field num_attention_heads is 4294967296"]);
}

#[test]
fn heads_that_do_not_divide_are_named() {
    let folder = Folder::of(&TinyModel::gpt_neox(1));
    with(
        &folder,
        &TinyModel::gpt_neox(1),
        "num_attention_heads",
        3.into(),
    );
    check_bad(
        folder.path(),
        &["field num_attention_heads is 3", "divide the width 32"],
    );
    let folder = Folder::of(&TinyModel::gpt2(1));
    with(&folder, &TinyModel::gpt2(1), "n_head", 5.into());
    check_bad(folder.path(), &["field n_head is 5", "divide the width 32"]);
    let llama = TinyModel::llama(1);
    let folder = Folder::of(&llama);
    with(&folder, &llama, "num_attention_heads", 7.into());
    check_bad(
        folder.path(),
        &["field num_attention_heads is 7", "divide the width 32"],
    );
    with(&folder, &llama, "num_key_value_heads", 3.into());
    check_bad(
        folder.path(),
        &["field num_key_value_heads is 3", "divide the 4 query heads"],
    );
    with(&folder, &llama, "num_key_value_heads", 8.into());
    check_bad(
        folder.path(),
        &["field num_key_value_heads is 8", "divide the 4 query heads"],
    );
    with(&folder, &llama, "head_dim", 7.into());
    check_bad(
        folder.path(),
        &["field head_dim rotates 7 of the 7 dimensions", "pairs"],
    );
}

#[test]
fn numbers_that_cannot_be_are_named() {
    let neox = TinyModel::gpt_neox(1);
    let llama = TinyModel::llama(1);
    let (a, b) = (Folder::of(&neox), Folder::of(&llama));
    let check = |folder: &Folder, spec, field: &str, value: Value, words: &str| {
        with(folder, spec, field, value);
        check_bad(folder.path(), &["config.json", words]);
    };
    for value in [json!(0), json!(-1e-5), json!("small"), json!(false)] {
        check(
            &a,
            &neox,
            "layer_norm_eps",
            value.clone(),
            "field layer_norm_eps is",
        );
        check(&b, &llama, "rms_norm_eps", value, "field rms_norm_eps is");
    }
    for value in [json!(0), json!(-10000.0), json!("x")] {
        check(
            &a,
            &neox,
            "rotary_emb_base",
            value.clone(),
            "field rotary_emb_base is",
        );
        check(
            &b,
            &llama,
            "rope_theta",
            value.clone(),
            "field rope_theta is",
        );
        let rope = json!({"rope_theta": value, "rope_type": "default"});
        check(&b, &llama, "rope_parameters", rope, "field rope_theta is");
    }
    for value in [
        json!(0.0),
        json!(-1.0),
        json!(1.5),
        json!(1e300),
        json!(0.1),
    ] {
        check(&a, &neox, "rotary_pct", value, "field rotary_pct");
    }
    check(
        &a,
        &neox,
        "use_parallel_residual",
        json!("yes"),
        "not true or false",
    );
    check(
        &b,
        &llama,
        "tie_word_embeddings",
        json!(1),
        "not true or false",
    );
    check(&b, &llama, "rope_parameters", json!([1]), "not an object");
    check(
        &b,
        &llama,
        "hidden_act",
        json!("gelu_10"),
        "supported are gelu",
    );
}

#[test]
fn rope_scalings_that_cannot_be_are_named() {
    let llama = TinyModel::llama(1);
    let folder = Folder::of(&llama);
    let check = |scaling: Value, words: &str| {
        with(&folder, &llama, "rope_scaling", scaling);
        check_bad(folder.path(), &["config.json", words]);
    };
    check(
        json!({"rope_type": "yarn", "factor": 2.0}),
        "field rope_type is \"yarn\"",
    );
    check(json!({"type": "dynamic", "factor": 2.0}), "\"dynamic\"");
    check(json!({"rope_type": "linear"}), "field factor is missing");
    check(
        json!({"rope_type": "linear", "factor": 0}),
        "field factor is 0",
    );
    let llama3 = |low: f64, high: f64| {
        json!({"rope_type": "llama3", "factor": 8.0, "low_freq_factor": low,
               "high_freq_factor": high, "original_max_position_embeddings": 64})
    };
    check(llama3(4.0, 1.0), "field high_freq_factor is 1");
    check(llama3(2.0, 2.0), "field high_freq_factor is 2");
    check(llama3(0.0, 2.0), "field low_freq_factor is 0");
    with(&folder, &llama, "rope_scaling", llama3(1.0, 4.0));
    check_good(folder.path());
}

#[test]
fn gpt2_variants_without_a_decoder_are_named() {
    let gpt2 = TinyModel::gpt2(1);
    let folder = Folder::of(&gpt2);
    for (flag, value) in [
        ("scale_attn_weights", false),
        ("scale_attn_by_inverse_layer_idx", true),
        ("add_cross_attention", true),
    ] {
        with(&folder, &gpt2, flag, value.into());
        check_bad(
            folder.path(),
            &[&format!("field {flag} is {value}, which is not supported")],
        );
    }
}
