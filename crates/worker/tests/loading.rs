//! What a worker loads is what was hashed, and is data: nothing of it is run.
#![allow(clippy::unwrap_used)]

mod at_work;

use assay_testkit::TinyModel;
use at_work::{Work, failed, model, run};
use serde_json::{Value, json};

#[test]
fn a_file_that_changed_after_it_was_hashed_is_refused() {
    for name in ["model.safetensors", "config.json", "tokenizer.json"] {
        let work = Work::new();
        let request = work.request();
        let path = work.path("tiny").join(name);
        let mut bytes = std::fs::read(&path).unwrap();
        // The last byte of all three can be another without the file being
        // malformed: a weight, and a line's end.
        *bytes.last_mut().unwrap() ^= if name.ends_with(".json") { 0x2a } else { 1 };
        std::fs::write(&path, bytes).unwrap();
        let reason = failed(&run(&request, &[]));
        assert!(
            reason.contains(name) && reason.contains("hashes to"),
            "{reason}"
        );
        assert!(!work.path("store/records").exists(), "{name}");
    }
}

/// Something is done to a model's folder after it was hashed.
#[track_caller]
fn check_refused(model: &TinyModel, change: impl FnOnce(&std::path::Path), words: &[&str]) {
    let work = Work::with(model);
    let request = work.request();
    change(&work.path("tiny"));
    let reason = failed(&run(&request, &[]));
    for words in words {
        assert!(reason.contains(words), "no {words:?} in {reason}");
    }
    assert!(!work.path("store/records").exists());
}

#[test]
fn a_file_that_nobody_asked_for_is_not_loaded() {
    for name in [
        "model.safetensors.index.json",
        "pytorch_model.bin",
        "vocab.json",
        ".x.safetensors",
        // What experiments read.
        "subspace.json",
        "training.json",
    ] {
        check_refused(
            &model(1),
            |folder| std::fs::write(folder.join(name), "{}").unwrap(),
            &[name, "lies beside the files of tiny"],
        );
    }
}

/// The index is asked for and right by its hash; what it names is not.
#[test]
fn an_index_names_only_files_that_were_hashed() {
    let sharded = TinyModel {
        shards: 2,
        ..model(1)
    };
    for hidden in [".hidden", "x.partial"] {
        let work = Work::with(&sharded);
        let folder = work.path("tiny");
        let index = folder.join("model.safetensors.index.json");
        let text = std::fs::read_to_string(&index).unwrap();
        let shard = "model-00002-of-00002.safetensors";
        std::fs::write(&index, text.replace(shard, hidden)).unwrap();
        let mut request = work.request();
        request.files.retain(|file| !file.path.ends_with(shard));
        std::fs::rename(folder.join(shard), folder.join(hidden)).unwrap();
        let reason = failed(&run(&request, &[]));
        assert!(
            reason.contains(hidden) && reason.contains("none of the files of tiny"),
            "{reason}"
        );
    }
}

/// Shards outside the folder, by every way to say so.
#[test]
fn an_index_cannot_lead_out_of_the_folder() {
    let sharded = TinyModel {
        shards: 2,
        ..model(1)
    };
    let shard = "model-00002-of-00002.safetensors";
    for elsewhere in [
        "../outside.safetensors",
        "../../x",
        "/etc/passwd",
        "a/../../outside.safetensors",
        "..\\outside.safetensors",
        "C:\\x",
        "model\0.safetensors",
        "..",
        "",
        "MODEL-00002-OF-00002.SAFETENSORS",
    ] {
        let work = Work::with(&sharded);
        let folder = work.path("tiny");
        std::fs::copy(folder.join(shard), work.path("outside.safetensors")).unwrap();
        let index = folder.join("model.safetensors.index.json");
        let text = std::fs::read_to_string(&index).unwrap();
        let [shard, elsewhere] = [shard, elsewhere].map(|name| json!(name).to_string());
        std::fs::write(&index, text.replace(&shard, &elsewhere)).unwrap();
        let reason = failed(&run(&work.request(), &[]));
        assert!(reason.contains("index.json"), "{elsewhere}: {reason}");
        // The loader itself, without the worker's look at the index.
        assert!(
            assay_checkpoint::Checkpoint::open(&folder).is_err(),
            "{elsewhere}"
        );
    }
}

/// Fields by which other programs are told to run code that comes with a model,
/// and that code; a chat template that would read a file.
#[test]
fn code_that_comes_with_a_model_is_not_run() {
    let plain = Work::new();
    let (honest, _) = plain.record(&plain.request());
    let work = Work::new();
    let made = work.path("made");
    let config = work.path("tiny/config.json");
    let mut fields: Value = serde_json::from_slice(&std::fs::read(&config).unwrap()).unwrap();
    fields["auto_map"] = json!({
        "AutoConfig": "evil.Evil", "AutoModelForCausalLM": "evil.Evil",
    });
    fields["trust_remote_code"] = json!(true);
    fields["custom_pipelines"] = json!({"text-generation": {"impl": "evil.Evil"}});
    std::fs::write(&config, fields.to_string()).unwrap();
    let python = format!("open({:?}, 'w').write('x')\nclass Evil: pass\n", made);
    std::fs::write(work.path("tiny/evil.py"), &python).unwrap();
    std::fs::write(work.path("tiny/__init__.py"), &python).unwrap();
    let template =
        "{{ ''.__class__.__mro__[1].__subclasses__() }}{% for x in range(10**9) %}{% endfor %}";
    let settings =
        json!({"chat_template": template, "auto_map": {"AutoTokenizer": ["evil.Evil", null]}});
    std::fs::write(
        work.path("tiny/tokenizer_config.json"),
        settings.to_string(),
    )
    .unwrap();
    std::fs::write(work.path("tiny/chat_template.jinja"), template).unwrap();
    let (record, computed) = work.record(&work.request());
    assert!(computed && !made.exists());
    // They are in the key, since they are among the files, and in no number.
    assert_ne!(record.key, honest.key);
    assert_eq!(record.samples, honest.samples);
}
