//! Tests of the redaction.

use proptest::prelude::*;

use super::*;
use crate::secret::Secret;

fn redacted(text: &str) -> String {
    Redactor::default().begin().redact_text(text)
}

#[test]
fn every_pattern_is_valid() {
    patterns::make_patterns().unwrap();
}

/// Each text has `§` for its secret; the sort is that of the redaction.
const FORMS: [(&str, &str, Sort); 63] = [
    (
        "abcd1234efgh",
        "server_args=ServerArgs(model_path='m', api_key='§', admin_api_key=None)",
        Sort::EngineKey,
    ),
    (
        "abcd1234efgh",
        "ServerArgs(host='h', admin_api_key='§', x=1)",
        Sort::EngineKey,
    ),
    (
        "it's 1 secret",
        "ServerArgs(api_key=\"§\", port=1)",
        Sort::EngineKey,
    ),
    (
        "abcd1234efgh",
        "{'api_key': '§', 'admin_api_key': None}",
        Sort::EngineKey,
    ),
    (
        "abcd1234efgh",
        "{\"api_key\":\"§\",\"port\":30000}",
        Sort::EngineKey,
    ),
    (
        "abcd1234efgh",
        r#"{"text":"{\"api_key\": \"§\", \"x\": 1}"}"#,
        Sort::EngineKey,
    ),
    (
        "abcd1234efgh",
        r#"{"a":"{\"b\":\"{\\\"api_key\\\":\\\"§\\\"}\"}"}"#,
        Sort::EngineKey,
    ),
    (
        "abcd1234efgh",
        "ssl_keyfile='/etc/k.pem', ssl_keyfile_password='§', x=2",
        Sort::EngineKey,
    ),
    (
        "abcd1234efgh",
        "python3 -m sglang.launch_server --api-key § --port 30000",
        Sort::EngineKey,
    ),
    (
        "abcd1234efgh",
        "python3 -m sglang.launch_server --api-key=§ --port 30000",
        Sort::EngineKey,
    ),
    ("abcd1234efgh", "--admin-api-key §", Sort::EngineKey),
    ("abcd1234efgh", "['--api-key', '§', '--port']", Sort::EngineKey),
    ("abcd1234efgh", "[\"--api-key=§\", \"--port\"]", Sort::EngineKey),
    ("abcd1234efgh", "[\"--api-key\",\"§\"]", Sort::EngineKey),
    ("abcd1234efgh", "--ssl-keyfile-password §", Sort::EngineKey),
    ("abcd1234efgh", "GET / Authorization: Bearer §", Sort::Header),
    (
        "abcd1234efgh",
        "{'Authorization': 'Bearer §', 'x': 1}",
        Sort::Header,
    ),
    (
        "abcd1234efgh",
        "curl -H 'authorization: Bearer §' http://h/",
        Sort::Header,
    ),
    ("dXNlcjpwYXNz", "authorization: Basic §", Sort::Header),
    ("abcd1234efgh", "(b'authorization', b'Bearer §')", Sort::Header),
    ("abcd1234efgh", "sent with bearer §, refused", Sort::Header),
    ("abcd1234efgh", "Set-Cookie: session=§; Path=/", Sort::Header),
    ("abcd1234efgh", "x-api-key: §", Sort::Header),
    (
        "hunter2hunter2",
        "proxy http://user:§@proxy:3128/ refused",
        Sort::UrlLogin,
    ),
    ("p@ss:w0rd", "https://user:§@host/path", Sort::UrlLogin),
    ("pa/ss1234", "https://user:§@host/path", Sort::UrlLogin),
    ("tokenasuser", "https://§@git.example.com/x.git", Sort::UrlLogin),
    ("hunter2hunter2", "a list http://a,http://u:§@b", Sort::UrlLogin),
    (
        "abcd1234efgh",
        "https://h/f?X-Amz-Signature=§&x=1",
        Sort::SignedUrl,
    ),
    (
        "AKIAEXAMPLE12/2026/us",
        "https://h/f?X-Amz-Credential=§&x=1",
        Sort::SignedUrl,
    ),
    (
        "abcd1234efgh",
        r"https://h/f?a=1\u0026X-Amz-Security-Token=§\u0026b=2",
        Sort::SignedUrl,
    ),
    (
        "abcd1234efgh",
        "https://h/f?Policy=§&Key-Pair-Id=K12345",
        Sort::SignedUrl,
    ),
    ("abcd1234efgh", "https://h/f?a=1&Signature=§&b=2", Sort::SignedUrl),
    ("abcd1234efgh", "https://h/f?sv=1&sig=§", Sort::SignedUrl),
    ("abcd1234efgh", "https://h/f?token=§&b=2", Sort::SignedUrl),
    (
        "abcd1234efgh",
        "https://h/?u=https%3A%2F%2Fx%3FX-Amz-Signature%3D§%26b",
        Sort::SignedUrl,
    ),
    (
        "hf_AbCdEfGhIjKlMnOpQrStUvWxYzAbCdEfGh",
        "login with § failed",
        Sort::Token,
    ),
    (
        "hf_abcdefghijklmnopqrstuvwxyzabcdefgh",
        "login with §.",
        Sort::Token,
    ),
    ("AKIAIOSFODNN7EXAMPLE", "key id § in us-east-1", Sort::Token),
    (
        "ghp_abcdefghijklmnopqrstuvwxyz0123456789",
        "clone with §",
        Sort::Token,
    ),
    (
        "github_pat_11ABCDEFG0abcdefghijkl_mnopqrst",
        "clone with §",
        Sort::Token,
    ),
    ("sk-proj-abcdefghijklmnop", "the model said §", Sort::Token),
    ("nvapi-abcdefghijklmnopqrstuvwx", "ngc §", Sort::Token),
    (
        "dsr1-0123456789abcdef0123456789abcdef0123456789abcdef",
        "sent §",
        Sort::Token,
    ),
    (
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.abc-_def",
        "jwt §",
        Sort::Token,
    ),
    ("abcd1234efgh", "HF_TOKEN=§ dsr1 pull", Sort::Variable),
    ("correct horse battery", "DB_PASSWORD: §", Sort::Variable),
    (
        "abcd1234efgh",
        "      \"Env\": [\"PATH=/bin\", \"WANDB_API_KEY=§\", \"A=b\"]",
        Sort::Variable,
    ),
    ("with space \\\"q\\\"", "        \"MY_SECRET=§\",", Sort::Variable),
    ("abcd1234efgh", "\"AWS_SECRET_ACCESS_KEY\": \"§\"", Sort::Variable),
    ("abcd1234efgh", "- HF_TOKEN=§", Sort::Variable),
    ("abcd1234efgh", "  export MY_CREDENTIALS='§'", Sort::Variable),
    ("abcd1234efgh", "docker run -e HF_TOKEN=§ image", Sort::Variable),
    ("abcd1234efgh", "password = §", Sort::Variable),
    ("abcd1234efgh", "{\"auth\": \"§\"}", Sort::Variable),
    (
        "abcd1234efgh",
        "{\"name\": \"HF_TOKEN\", \"value\": \"§\"}",
        Sort::Variable,
    ),
    ("abcd1234efgh", "- name: HF_TOKEN\n  value: §", Sort::Variable),
    (
        "abcd1234efgh",
        "    \"--api-key\",\n    \"§\",\n    \"--port\"",
        Sort::EngineKey,
    ),
    ("abcd1234efgh", "python3 --api-key \\\n  §", Sort::EngineKey),
    ("abcd1234efgh", "tool --hf-token §", Sort::Variable),
    (
        "MIIEvQIBADANBg+/\nkqhkiG9w0BAQEFAASC\nBKc=",
        "a key:\n-----BEGIN PRIVATE KEY-----\n§\n-----END PRIVATE KEY-----\nafter it",
        Sort::PrivateKey,
    ),
    (
        "MIIEvQIBADANBg",
        r#"{"k":"-----BEGIN RSA PRIVATE KEY-----\n§\n-----END RSA PRIVATE KEY-----\n"}"#,
        Sort::PrivateKey,
    ),
    (
        "MIIEvQIBADANBg",
        "cut -----BEGIN EC PRIVATE KEY-----\\n§",
        Sort::PrivateKey,
    ),
];

#[test]
fn every_form_of_a_secret_is_replaced() {
    for (secret, form, sort) in FORMS {
        let text = form.replace('§', secret);
        let redactor = Redactor::default();
        let mut redaction = redactor.begin();
        let out = redaction.redact_text(&text);
        for part in secret.lines() {
            assert!(!out.contains(part), "{text}\n{out}");
        }
        assert!(
            redaction.counts().contains_key(&sort),
            "{text}\n{out}\n{:?}",
            redaction.counts()
        );
        assert_eq!(redacted(&out), out, "{text}");
        assert_eq!(out.lines().count(), text.lines().count(), "{text}\n{out}");
    }
}

#[test]
fn words_that_only_look_like_secrets_stay() {
    for line in [
        "[2026-11-30 10:00:00 TP0] Decode batch, #running-req: 1, #token: 12, token usage: 0.25, gen throughput (token/s): 80.1",
        "max_total_num_tokens=3, chunked_prefill_size=8192, max_prefill_tokens=16384, context_len=163840",
        "ServerArgs(tokenizer_path='/m', tokenizer_mode='auto', skip_tokenizer_init=False, api_key=None, admin_api_key=None)",
        "ServerArgs(api_key=None, ssl_keyfile=None, ssl_keyfile_password=None)",
        "{\"api_key\":null,\"token_usage\": 0.25}",
        "TOKENIZERS_PARALLELISM=false",
        "SGLANG_DEEPEP_NUM_MAX_DISPATCH_TOKENS_PER_RANK=256",
        "KeyError: 'key' is not a key; the token is fine",
        "hf_overrides={}, hf_transfer, hf_tokenizer, hf_config",
        "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "commit 4236a6af538feda4548eca9ab308586007567f52 of deepseek-ai/DeepSeek-R1-0528",
        "schedule_policy='fcfs', load_balance_method='auto', disable_radix_cache=False",
        "ssh://root@10.0.0.1 and mail me@example.com",
        "http://127.0.0.1:30000/v1/models and https://huggingface.co/a/b@main",
        "disk-task-mask-of-something",
        "INFO:     127.0.0.1:5555 - \"POST /v1/chat/completions HTTP/1.1\" 401 Unauthorized",
        "risk-free; desk-based; ask-me-anything-you-want",
    ] {
        assert_eq!(redacted(line), line);
        assert!(
            matches!(redact_certain(line), Cow::Borrowed(_)) || redact_certain(line) == line,
            "{line}"
        );
    }
}

#[test]
fn a_person_sees_the_rest_of_the_line() {
    for (line, shown) in [
        (
            "server_args=ServerArgs(model_path='m', api_key='abc', port=30000)",
            "server_args=ServerArgs(model_path='m', api_key='***', port=30000)",
        ),
        ("GET /x?token=abcdefgh 200", "GET /x?token=*** 200"),
        ("launch --api-key abc --port 1", "launch --api-key *** --port 1"),
        ("http://u:p@proxy:3128/x", "http://***@proxy:3128/x"),
        ("MY_KEY=visible here", "MY_KEY=visible here"),
        ("a hf_AbCdEfGh12345678 b", "a *** b"),
    ] {
        assert_eq!(redact_certain(line), shown);
    }
    assert_eq!(redact_certain("a\nx hf_AbCdEfGh12345678\nb\n"), "a\nx ***\nb\n");
    assert_eq!(shown_value("MY_KEY", "abc"), MARK);
    assert_eq!(shown_value("PROXY", "http://u:p@h"), "http://***@h");
    assert_eq!(shown_value("OMP_NUM_THREADS", "8"), "8");
}

#[test]
fn prompts_are_left_out() {
    let id = "0123456789abcdef0123456789abcdef";
    for (line, shown) in [
        (
            format!("[2026-11-30 10:00:00] Receive: obj=GenerateReqInput(rid='{id}', text='a private thing', sampling_params={{'n': 1}})"),
            format!("[2026-11-30 10:00:00] Receive: obj=GenerateReqInput(rid='{id}', ***)"),
        ),
        (
            "Finish: obj=GenerateReqInput(text='a private thing'), out={'text': 'private', 'meta_info': {'prompt_tokens': 7, 'completion_tokens': 9}}".to_owned(),
            "Finish: obj=GenerateReqInput(***), prompt_tokens=7, completion_tokens=9".to_owned(),
        ),
        (
            "Receive OpenAI: obj={'messages': [{'role': 'user', 'content': 'private'}]}, headers={}".to_owned(),
            "Receive OpenAI: obj={***}".to_owned(),
        ),
        (
            r#"{"timestamp": "t", "event": "request.finished", "rid": "1", "obj": {"text": "private"}, "out": {"text": "private"}}"#.to_owned(),
            r#"{"timestamp": "t", "event": "request.finished", "rid": "1", "obj": "***"}"#.to_owned(),
        ),
    ] {
        assert_eq!(redacted(&line), shown);
        assert_eq!(redacted(&shown), shown);
        // A person who reads an own log sees it all.
        assert_eq!(redact_certain(&line), line);
    }
}

#[test]
fn known_values_and_names_are_replaced() {
    let names = Names {
        home: "/home/anna".to_owned(),
        host: "gpu-7.example.org".to_owned(),
        user: "anna".to_owned(),
    };
    let redactor = Redactor::new(&[Secret::new("plain \"value\""), Secret::new("short")], &names);
    let mut redaction = redactor.begin();
    let text = "/home/anna/x /home/annabel gpu-7 gpu-70 gpu-7.example.org anna annabel short\nplain \"value\" plain \\\"value\\\" plain%20%22value%22";
    assert_eq!(
        redaction.redact_text(text),
        "~/x /home/annabel HOST gpu-70 HOST USER annabel short\n*** *** ***"
    );
    assert_eq!(redaction.counts()[&Sort::Known], 3);
    assert_eq!(redaction.counts()[&Sort::Name], 4);
}

#[test]
fn a_document_is_redacted_by_its_keys_and_texts() {
    let mut document = serde_json::json!({
        "env": {"HF_TOKEN": "abc", "OMP_NUM_THREADS": "8", "A": "http://u:p@h"},
        "argv": ["--api-key", "abc", "--port", "1"],
        "Env": ["MY_KEY=a b c", "PATH=/bin"],
        "list": [{"name": "DB_PASSWORD", "value": "x"}, {"name": "A", "value": "x"}],
        "auths": {"reg": {"auth": "dXNlcjpwYXNz"}},
        "server_info": {"api_key": "sk", "admin_api_key": null, "max_total_num_tokens": 3},
        "key": "-----BEGIN PRIVATE KEY-----\nAB\nCD\n-----END PRIVATE KEY-----\n",
        "generated_texts": ["private"],
    });
    let redactor = Redactor::default();
    let mut redaction = redactor.begin();
    redaction.redact_json(&mut document);
    assert_eq!(
        document,
        serde_json::json!({
            "env": {"HF_TOKEN": "***", "OMP_NUM_THREADS": "8", "A": "http://***@h"},
            "argv": ["--api-key", "***", "--port", "1"],
            "Env": ["MY_KEY=***", "PATH=/bin"],
            "list": [{"name": "DB_PASSWORD", "value": "***"}, {"name": "A", "value": "x"}],
            "auths": {"reg": {"auth": "***"}},
            "server_info": {"api_key": "***", "admin_api_key": null, "max_total_num_tokens": 3},
            "key": "***\n***\n***\n***\n",
            "generated_texts": "***",
        })
    );
    let before = redaction.counts().clone();
    redaction.redact_json(&mut document);
    assert_eq!(
        *redaction.counts(),
        before,
        "what is replaced is not counted again"
    );
}

proptest! {
    #[test]
    fn no_secret_of_any_form_is_left(
        (form, value, begin, end) in (
            0..FORMS.len(),
            "[A-Za-z0-9]{12,40}",
            "([a-z#:,=/ ]{0,20} )?",
            "( [a-z#:,=/ ]{0,20})?",
        )
    ) {
        let (_, text, sort) = FORMS[form];
        // A token is known by its form, and a key by its letters.
        let value = match sort {
            Sort::Token => format!("hf_9{value}"),
            _ => value,
        };
        let line = format!("{begin}{}{end}", text.replace('§', &value));
        let out = redacted(&line);
        prop_assert!(!out.contains(&value), "{line}\n{out}");
        let at = value.len() / 2;
        prop_assert!(!out.contains(&value[at..]) && !out.contains(&value[..at]), "{line}\n{out}");
        prop_assert_eq!(redacted(&out), out);
    }

    #[test]
    fn any_text_is_redacted_once(text in "(\\PC|[\"'\\\\=:@\n\t ]|api_key|--api-key|HF_TOKEN|://|Bearer |-----BEGIN PRIVATE KEY-----|-----END PRIVATE KEY-----|obj=|Finish: |\\*\\*\\*){0,40}") {
        let once = redacted(&text);
        prop_assert_eq!(redacted(&once), once.clone(), "{}", text);
        prop_assert_eq!(once.matches('\n').count(), text.matches('\n').count());
        let certain = redact_certain(&text).into_owned();
        prop_assert_eq!(redact_certain(&certain), certain.as_str());
    }
}
