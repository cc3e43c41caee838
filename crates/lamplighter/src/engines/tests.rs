//! Looks at simulated nodes over real HTTP: every engine, newer and older, and what comes back from strangers.

use super::*;
use lamplighter_core::model::Capability;
use lamplighter_simnode::{Fault, FaultRule, On, Profile, SimModel, SimNode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

fn asker(url: &str) -> Asker {
    asker_with(url, None, None)
}

fn asker_with(url: &str, key: Option<&str>, expected: Option<Engine>) -> Asker {
    Asker::new(http_client(), NodeUrl::parse(url).unwrap(), key.map(Into::into), expected)
}

fn names(look: &Look) -> Vec<&str> {
    look.listing.iter().flatten().map(|model| model.name.as_str()).collect()
}

fn why(look: &Look) -> &str {
    match &look.report {
        Report::Refused(why) | Report::Closed(why) | Report::Silent(why) => why,
        other => panic!("{other:?} has no reason"),
    }
}

fn asked(node: &SimNode, path: &str) -> usize {
    node.seen().iter().filter(|seen| seen.path == path).count()
}

/// Answers every connection with these bytes, then closes it.
async fn raw_server(answer: impl Into<Vec<u8>>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let answer = answer.into();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = [0; 4096];
            let _ = stream.read(&mut head).await;
            let _ = stream.write_all(&answer).await;
        }
    });
    url
}

fn http(status: &str, kind: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    )
}

#[tokio::test]
async fn ollama_with_what_is_loaded() {
    let node = SimNode::start(
        Profile::ollama("nas")
            .model(SimModel::new("llama3.2:3b").loaded(true))
            .model(SimModel::new("kimi:cloud").remote_host("https://ollama.com:443"))
            .model(SimModel::new("qwen3:8b")),
    )
    .await
    .unwrap();
    let mut asker = asker(&node.url());
    let look = asker.look(Depth::Pulse).await;
    assert_eq!(look.report, Report::Answered);
    let who = asker.identity().unwrap();
    assert_eq!((who.engine, who.version.as_deref()), (Engine::Ollama, Some("0.30.0")));
    let spoken =
        Dialects { openai: true, responses: true, anthropic: true, count_tokens: false, ollama: true };
    assert_eq!(who.dialects, spoken);
    let models = look.listing.unwrap();
    let by = |name: &str| models.iter().find(|model| model.name == name).unwrap();
    assert_eq!((models.len(), by("llama3.2:3b").loaded, by("qwen3:8b").loaded), (3, Some(true), Some(false)));
    assert!(by("kimi:cloud").remote && by("llama3.2:3b").vram_bytes.is_some());
    assert_eq!(by("qwen3:8b").context_tokens, Some(8192));
    assert_eq!(node.stats().generations_finished, 0, "a look runs no model");

    // Nothing changed: nothing is handed out, and a pulse is one call.
    let before = node.seen().len();
    let look = asker.look(Depth::Pulse).await;
    assert_eq!((look.report, look.listing), (Report::Answered, None));
    assert_eq!(node.seen().len() - before, 1);

    node.load("qwen3:8b");
    let look = asker.look(Depth::Pulse).await;
    let models = look.listing.expect("what is loaded changed");
    assert_eq!(models.iter().filter(|model| model.loaded == Some(true)).count(), 2);
}

#[tokio::test]
async fn an_older_ollama_is_learned_by_show_a_few_models_at_a_time() {
    let mut profile = Profile::ollama("old").old(true);
    for n in 0..6 {
        profile = profile.model(SimModel::new(format!("m{n}:latest")));
    }
    let node = SimNode::start(profile).await.unwrap();
    let mut asker = asker(&node.url());
    let look = asker.look(Depth::Full).await;
    assert_eq!(look.report, Report::Answered);
    let spoken = asker.identity().unwrap().dialects;
    assert!(spoken.openai && spoken.ollama && !spoken.anthropic && !spoken.responses);
    let known =
        |look: &Look| look.listing.iter().flatten().filter(|model| model.context_tokens.is_some()).count();
    assert_eq!(known(&look), ollama::SHOWS_PER_LOOK);
    assert_eq!(known(&asker.look(Depth::Pulse).await), 6);
    asker.look(Depth::Full).await;
    assert_eq!(asked(&node, "/api/show"), 6, "each digest once");
}

#[tokio::test]
async fn an_ollama_without_ps_still_answers_pulses() {
    let node = SimNode::start(Profile::ollama("older").model(SimModel::new("a:latest"))).await.unwrap();
    let gone = Fault::Status { status: 404, retry_after: None, body: Some("404 page not found".into()) };
    node.set_fault(FaultRule::from(gone).on(On::Path("/api/ps".into())));
    let mut asker = asker(&node.url());
    let look = asker.look(Depth::Full).await;
    assert_eq!((look.report.clone(), names(&look)), (Report::Answered, vec!["a:latest"]));
    assert_eq!(look.listing.unwrap()[0].loaded, None, "not told is not guessed");
    assert_eq!(asker.look(Depth::Pulse).await.report, Report::Answered);
    assert_eq!(asked(&node, "/api/ps"), 1);
}

#[tokio::test]
async fn a_model_new_in_memory_brings_the_list() {
    let node = SimNode::start(Profile::ollama("nas").model(SimModel::new("a:latest"))).await.unwrap();
    let mut asker = asker(&node.url());
    asker.look(Depth::Full).await;
    node.set_models(vec![SimModel::new("a:latest"), SimModel::new("new:1b").loaded(true)]);
    node.load("new:1b");
    let look = asker.look(Depth::Pulse).await;
    assert!(names(&look).contains(&"new:1b"), "{:?}", look.listing);
    assert_eq!(asked(&node, "/api/tags"), 2);
}

#[tokio::test]
async fn llamacpp_with_one_model() {
    let profile = Profile::llamacpp("box").model(SimModel::new("tiny").loaded(true)).parallel(3);
    let node = SimNode::start(profile.clone()).await.unwrap();
    let mut asker = asker(&node.url());
    let look = asker.look(Depth::Full).await;
    assert_eq!(
        (look.report.clone(), look.told.slots, names(&look)),
        (Report::Answered, Some(3), vec!["tiny"])
    );
    assert_eq!(look.version.as_deref(), Some("b11434-unknown"));
    let model = &look.listing.unwrap()[0];
    assert_eq!(
        (model.loaded, model.capabilities.as_slice()),
        (Some(true), [Capability::Completion].as_slice())
    );
    let spoken =
        Dialects { openai: true, responses: true, anthropic: true, count_tokens: true, ollama: false };
    assert_eq!(asker.identity().unwrap().dialects, spoken);
    let before = node.seen().len();
    assert_eq!(asker.look(Depth::Pulse).await.report, Report::Answered);
    assert_eq!(node.seen()[before..].iter().map(|seen| seen.path.as_str()).collect::<Vec<_>>(), ["/health"]);

    let embedder = SimNode::start(profile.embeddings(true)).await.unwrap();
    let look = super::tests::asker(&embedder.url()).look(Depth::Full).await;
    assert!(look.listing.unwrap()[0].embeds_only());
}

#[tokio::test]
async fn llamacpp_router_tells_what_is_loaded_in_a_pulse() {
    let profile =
        Profile::llamacpp_router("router").model(SimModel::new("alpha")).model(SimModel::new("beta"));
    let node = SimNode::start(profile).await.unwrap();
    let mut asker = asker(&node.url());
    // In a task of its own, as the registry asks: a look can move between threads.
    let first = tokio::spawn(async move { (asker.look(Depth::Full).await, asker) });
    let (look, mut asker) = first.await.unwrap();
    assert_eq!((names(&look), look.told.slots), (vec!["alpha", "beta"], None));
    assert!(asker.identity().unwrap().dialects.anthropic);
    node.load("beta");
    let models = asker.look(Depth::Pulse).await.listing.unwrap();
    assert_eq!(models.iter().map(|model| model.loaded).collect::<Vec<_>>(), [Some(false), Some(true)]);
}

#[tokio::test]
async fn a_llamacpp_that_still_loads_its_model_says_so() {
    let profile = Profile::llamacpp("slow").model(SimModel::new("tiny")).starting_ms(60_000);
    let node = SimNode::start(profile).await.unwrap();
    let look = asker(&node.url()).look(Depth::Pulse).await;
    assert_eq!((look.report, look.listing), (Report::Loading, None));
}

#[tokio::test]
async fn vllm_lmstudio_and_the_rest() {
    let vllm =
        SimNode::start(Profile::vllm("gpu").model(SimModel::new("big").context_length(2048))).await.unwrap();
    let mut asked_vllm = asker(&vllm.url());
    let look = asked_vllm.look(Depth::Full).await;
    let who = asked_vllm.identity().unwrap();
    assert_eq!((who.engine, who.version.as_deref()), (Engine::Vllm, Some("0.32.0")));
    assert!(
        who.dialects.anthropic && who.dialects.count_tokens && who.dialects.responses && !who.dialects.ollama
    );
    let model = &look.listing.unwrap()[0];
    assert_eq!((model.context_tokens, model.loaded), (Some(2048), Some(true)));
    assert_eq!(asked_vllm.look(Depth::Pulse).await.report, Report::Answered);

    let studio = SimNode::start(
        Profile::lmstudio("desk").model(SimModel::new("a").loaded(true)).model(SimModel::new("b")),
    );
    let studio = studio.await.unwrap();
    let mut asked_studio = asker(&studio.url());
    let look = asked_studio.look(Depth::Full).await;
    assert_eq!(asked_studio.identity().unwrap().engine, Engine::Lmstudio);
    let loaded: Vec<_> = look.listing.iter().flatten().map(|model| model.loaded).collect();
    assert_eq!(loaded, [Some(true), Some(false)]);

    let plain = SimNode::start(Profile::openai("x").model(SimModel::new("m"))).await.unwrap();
    let mut asked_plain = asker(&plain.url());
    assert_eq!(names(&asked_plain.look(Depth::Full).await), ["m"]);
    let who = asked_plain.identity().unwrap();
    assert_eq!(
        (who.engine, who.dialects),
        (Engine::Openai, Dialects { openai: true, ..Dialects::default() })
    );
    assert_eq!(asked_plain.look(Depth::Pulse).await.report, Report::Answered);
    let both = Profile::openai("y").model(SimModel::new("m")).responses(true).messages(true);
    let both = SimNode::start(both).await.unwrap();
    let mut asked_both = asker(&both.url());
    asked_both.look(Depth::Full).await;
    let spoken = asked_both.identity().unwrap().dialects;
    assert!(spoken.responses && spoken.anthropic && !spoken.count_tokens);
}

#[tokio::test]
async fn the_owners_word_is_believed_and_checked() {
    let vllm = SimNode::start(Profile::vllm("gpu").model(SimModel::new("m"))).await.unwrap();
    let look = asker_with(&vllm.url(), None, Some(Engine::Ollama)).look(Depth::Full).await;
    assert_eq!(why(&look), "it answers as vLLM, but the configuration says engine = \"ollama\"");
    let ollama = SimNode::start(Profile::ollama("nas").model(SimModel::new("m:latest"))).await.unwrap();
    let look = asker_with(&ollama.url(), None, Some(Engine::Llamacpp)).look(Depth::Full).await;
    assert_eq!(why(&look), "it answers as Ollama, but the configuration says engine = \"llamacpp\"");
    let mut as_openai = asker_with(&ollama.url(), None, Some(Engine::Openai));
    assert_eq!(names(&as_openai.look(Depth::Full).await), ["m:latest"]);
    assert_eq!(as_openai.identity().unwrap().engine, Engine::Openai);
    let plain = SimNode::start(Profile::openai("x").model(SimModel::new("m"))).await.unwrap();
    let mut as_vllm = asker_with(&plain.url(), None, Some(Engine::Vllm));
    assert_eq!(as_vllm.look(Depth::Full).await.report, Report::Answered);
    assert_eq!(as_vllm.identity().unwrap().engine, Engine::Vllm);
}

#[tokio::test]
async fn a_key_is_asked_for_sent_and_refused_and_health_does_not_cover_it_up() {
    let profile = Profile::llamacpp("box").model(SimModel::new("tiny")).api_key("k1");
    let node = SimNode::start(profile).await.unwrap();
    let look = asker(&node.url()).look(Depth::Full).await;
    assert_eq!(why(&look), "it wants a key: set api_key for this node");
    let mut wrong = asker_with(&node.url(), Some("secret-k2"), None);
    assert_eq!(why(&wrong.look(Depth::Full).await), "it refused our api_key (401)");
    let mut right = asker_with(&node.url(), Some("k1"), None);
    assert_eq!(right.look(Depth::Full).await.report, Report::Answered);
    // The key is taken away while the node runs: /health stays open, so only full looks can know.
    let no = Fault::Status { status: 401, retry_after: None, body: None };
    node.set_fault(FaultRule::from(no).on(On::Path("/v1/models".into())));
    assert_eq!(why(&right.look(Depth::Full).await), "it refused our api_key (401)");
    assert_eq!(why(&right.look(Depth::Pulse).await), "it refused our api_key (401)");
    node.clear_fault();
    assert_eq!(right.look(Depth::Pulse).await.report, Report::Answered);
}

#[tokio::test]
async fn another_engine_at_the_same_port_is_noticed() {
    let first = SimNode::start(Profile::ollama("nas").model(SimModel::new("a:latest"))).await.unwrap();
    let port = first.addr().port();
    let mut asker = asker(&first.url());
    asker.look(Depth::Full).await;
    first.kill().await;
    let look = asker.look(Depth::Pulse).await;
    assert_eq!(look.report, Report::Closed(format!("nothing listens at 127.0.0.1:{port}")));
    let _second =
        SimNode::start(Profile::llamacpp("box").model(SimModel::new("b")).port(port)).await.unwrap();
    let look = asker.look(Depth::Pulse).await;
    assert_eq!((look.report.clone(), names(&look)), (Report::Answered, vec!["b"]));
    assert_eq!(asker.identity().unwrap().engine, Engine::Llamacpp);
}

#[tokio::test]
async fn an_upgrade_is_noticed_by_its_version() {
    let old =
        SimNode::start(Profile::ollama("nas").model(SimModel::new("a:latest")).old(true)).await.unwrap();
    let port = old.addr().port();
    let mut asker = asker(&old.url());
    asker.look(Depth::Full).await;
    assert!(!asker.identity().unwrap().dialects.anthropic);
    old.kill().await;
    let _new =
        SimNode::start(Profile::ollama("nas").model(SimModel::new("a:latest")).port(port)).await.unwrap();
    assert_eq!(asker.look(Depth::Full).await.version.as_deref(), Some("0.30.0"));
    assert!(asker.identity().unwrap().dialects.anthropic);
}

#[tokio::test]
async fn r20_a_web_page_is_no_model_server() {
    let node = SimNode::start(Profile::ollama("portal")).await.unwrap();
    node.set_fault(Fault::Html200);
    let look = asker(&node.url()).look(Depth::Full).await;
    let expected = format!("{} answers with a web page, not with a model server's API", node.url());
    assert_eq!((why(&look), look.listing.as_ref()), (expected.as_str(), None));
}

#[tokio::test]
async fn silence_closed_ports_and_unknown_names() {
    let node = SimNode::start(Profile::ollama("nas")).await.unwrap();
    node.set_fault(Fault::Silent { ms: None });
    let began = std::time::Instant::now();
    let look = asker(&node.url()).look(Depth::Full).await;
    assert_eq!(look.report, Report::Silent("no answer in 2 s".into()));
    assert!(began.elapsed() < Duration::from_secs(5) && look.took_ms >= 1900);
    let look = asker("http://no-such-machine.invalid:1").look(Depth::Full).await;
    assert_eq!(look.report, Report::Silent("the name no-such-machine.invalid is not known".into()));
    let look = asker("http://169.254.169.254").look(Depth::Full).await;
    assert!(why(&look).contains("metadata service"), "{look:?}");
}

#[tokio::test]
async fn strangers_are_refused_with_a_reason() {
    let moved = "HTTP/1.1 302 Found\r\nlocation: https://login.lan/x?token=1\r\ncontent-length: 0\r\n\r\n";
    let error200 = http("200 OK", "application/json", r#"{"error":"Unexpected endpoint or method."}"#);
    let wants_tls =
        http("400 Bad Request", "text/plain", "Client sent an HTTP request to an HTTPS server.\n");
    for (answer, expected) in [
        (moved.into(), "sends us on to https://login.lan:"),
        (error200, "no list of models"),
        (wants_tls, "write https:// before"),
        (http("404 Not Found", "text/html", "<h1>404</h1>"), "web page"),
        ("SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n".into(), "does not speak HTTP"),
    ] {
        let url = raw_server(answer).await;
        let look = asker(&url).look(Depth::Full).await;
        assert!(matches!(look.report, Report::Refused(_)) && why(&look).contains(expected), "{look:?}");
    }
    let url = raw_server("SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n").await.replace("http://", "https://");
    assert!(why(&asker(&url).look(Depth::Full).await).contains("does not speak TLS"));
    let url = raw_server(http("502 Bad Gateway", "text/html", "<h1>502</h1>")).await;
    assert_eq!(
        asker(&url).look(Depth::Full).await.report,
        Report::Silent("it answers with status 502".into())
    );
    let url = raw_server("").await;
    assert!(matches!(asker(&url).look(Depth::Full).await.report, Report::Silent(_)));
}

#[tokio::test]
async fn an_answer_without_end_is_cut_at_its_cap() {
    let body = "x".repeat(line::SMALL_BYTES + 1);
    let url = raw_server(http("200 OK", "application/json", &body)).await;
    assert_eq!(why(&asker(&url).look(Depth::Full).await), "its answer is longer than 256 KiB");
}

#[tokio::test]
async fn t48_a_bomb_of_models_is_cut() {
    let many: Vec<String> =
        (0..100_000).map(|n| format!(r#"{{"id":"model-{n}","object":"model"}}"#)).collect();
    let body = format!(r#"{{"object":"list","data":[{}]}}"#, many.join(","));
    let url = raw_server(http("200 OK", "application/json", &body)).await;
    let look = asker_with(&url, None, Some(Engine::Openai)).look(Depth::Full).await;
    assert_eq!(look.listing.map(|models| models.len()), Some(lenient::MAX_MODELS));
}

/// Who waits in the engine itself, where it tells; a route that is gone is no failure, and is not asked for again (R19).
#[tokio::test]
async fn queues_are_read_where_they_are_told() {
    let vllm = SimNode::start(Profile::vllm("vllm").model(SimModel::new("m"))).await.unwrap();
    let mut asker = asker(&vllm.url());
    let told = asker.look(Depth::Full).await.told.queue.expect("vLLM tells");
    assert_eq!((told.running, told.waiting, told.cache_percent), (0, 0, None));
    vllm.set_fault(
        FaultRule::from(Fault::Status { status: 404, retry_after: None, body: None })
            .on(On::Path("/metrics".into())),
    );
    for _ in 0..3 {
        let look = asker.look(Depth::Pulse).await;
        assert_eq!((look.report, look.told.queue), (Report::Answered, None));
    }
    assert_eq!(asked(&vllm, "/metrics"), 2, "not there: not asked again");

    let llama = SimNode::start(Profile::llamacpp("llama").model(SimModel::new("m"))).await.unwrap();
    let mut asker = self::asker(&llama.url());
    assert_eq!(asker.look(Depth::Full).await.told.queue, None);
    assert_eq!(asked(&llama, "/metrics"), 0, "idle: asking would keep it from sleeping");
    asker.at_work(true);
    assert!(asker.look(Depth::Pulse).await.told.queue.is_some());
    llama.set_fault(
        FaultRule::from(Fault::Status { status: 501, retry_after: None, body: None })
            .on(On::Path("/metrics".into())),
    );
    assert_eq!(asker.look(Depth::Pulse).await.told.queue.map(|queue| queue.running), Some(0), "by its slots");
    assert_eq!((asked(&llama, "/metrics"), asked(&llama, "/slots")), (2, 1));
}
