//! The console without a browser: what its pages promise to whoever has no script, and to whoever is not to be trusted.

use std::time::{Duration, Instant};

use longshore::ui::PERIOD;
use reqwest::{StatusCode, redirect};
use serde_json::{Value, json};

use crate::harness::{
    World, eventually,
    jobs::job,
    proxy::{Mode, Proxy},
};

/// What would be markup, were it not escaped; and what would turn the text around it.
const HOSTILE: [&str; 8] = [
    "<script>alert(1)</script>",
    "\"><img src=x onerror=alert(1)>",
    "'><svg/onload=alert(1)>",
    "</title></textarea><iframe src=//evil.example>",
    "<!-- --><style>*{display:none}</style>",
    "{{7*7}}${7*7}<%= 7 %>",
    "abc\u{202e}gpj.exe\u{2066}",
    "javascript:alert(1)//&lt;b&gt;",
];
/// Beginnings of what is only there if a text became markup.
const MARKUP: [&str; 6] = ["<script>", "<img", "<svg/onload", "<iframe", "<style>*", "</title></textarea>"];

/// A form as a browser sends it.
fn filled(request: reqwest::RequestBuilder, fields: &[(&str, &str)]) -> reqwest::RequestBuilder {
    let mut url = reqwest::Url::parse("http://form").unwrap();
    url.query_pairs_mut().extend_pairs(fields);
    let body = url.query().unwrap_or_default().to_owned();
    request.header("content-type", "application/x-www-form-urlencoded").body(body)
}

/// A browser without scripts: it sends forms, and is shown where it is sent to.
struct Browser {
    http: reqwest::Client,
    url: String,
}

impl Browser {
    fn new(url: &str) -> Self {
        let http = reqwest::Client::builder().redirect(redirect::Policy::none()).build().unwrap();
        Self { http, url: url.to_owned() }
    }

    async fn get(&self, path: &str) -> (StatusCode, String) {
        let answer = self.http.get(format!("{}{path}", self.url)).send().await.unwrap();
        let (status, headers) = (answer.status(), answer.headers().clone());
        let text = answer.text().await.unwrap();
        let header = |name: &str| headers.get(name).and_then(|it| it.to_str().ok()).unwrap_or_default().to_owned();
        assert!(header("content-type").starts_with("text/html"), "{path}");
        assert!(
            header("content-security-policy").starts_with("default-src 'none'; script-src 'self'; style-src 'self'")
        );
        assert_eq!(
            [header("x-content-type-options"), header("referrer-policy"), header("cache-control")],
            ["nosniff", "same-origin", "no-store"],
            "{path}"
        );
        self.check(path, &text);
        (status, text)
    }

    /// What holds for every page, whatever is on it.
    fn check(&self, path: &str, page: &str) {
        for markup in MARKUP {
            assert!(!page.contains(markup), "{path} has {markup:?}");
        }
        // No script and no style but those of this server, and no other host.
        assert_eq!(page.matches("<script").count(), 1, "{path}");
        for inline in [" style=", " onclick=", " onload=", "<style", "http://", "https://", "//evil.example\""] {
            assert!(!page.contains(inline), "{path} has {inline:?}");
        }
        assert_eq!(page.matches("<h1").count(), 1, "{path}");
        for part in [
            "<html lang=\"en\">",
            "<main id=\"main\"",
            "<nav aria-label=\"Main\"",
            "href=\"#main\"",
            " · Longshore</title>",
        ] {
            assert!(page.contains(part), "{path} lacks {part}");
        }
    }

    /// Sends a form, and answers the status, where it leads, and the page that came at once.
    async fn post(&self, path: &str, fields: &[(&str, &str)]) -> (StatusCode, String, String) {
        let answer = filled(self.http.post(format!("{}{path}", self.url)), fields).send().await.unwrap();
        let status = answer.status();
        let place = answer.headers().get("location").map(|it| it.to_str().unwrap().to_owned()).unwrap_or_default();
        let base = reqwest::Url::parse(&format!("{}{path}", self.url)).unwrap();
        let led = if place.is_empty() { String::new() } else { base.join(&place).unwrap().to_string() };
        let led = led.strip_prefix(&self.url).unwrap_or_default().to_owned();
        let text = answer.text().await.unwrap();
        if status != StatusCode::SEE_OTHER {
            self.check(path, &text);
        }
        (status, led, text)
    }

    /// The same of a form that does what it says: the page it leads to.
    async fn done(&self, path: &str, fields: &[(&str, &str)]) -> (String, String) {
        let (status, led, text) = self.post(path, fields).await;
        assert_eq!(status, StatusCode::SEE_OTHER, "{path}: {text}");
        let (status, page) = self.get(&led).await;
        assert_eq!(status, StatusCode::OK, "{led}");
        assert!(page.contains("role=\"status\"><b>Done.</b>"), "{led} says what was done");
        (led, page)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_is_submitted_seen_changed_and_cancelled_without_a_script() {
    let mut world = World::new(1).await;
    let replica = world.start(&[]).await;
    let browser = Browser::new(&replica);
    let holder = world.submit(&replica, &job("holder", 600_000, 0)).await;
    world.reaches(&replica, &holder, "running").await;

    // What is wrong is said at its field, and what was typed is still there.
    let wrong = [("mode", "fields"), ("name", ""), ("image", "busybox:latest"), ("env", "A=1\r\nB"), ("priority", "2")];
    let (status, _, page) = browser.post("/ui/submit", &wrong).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(page.contains("id=\"env-fault\"") && page.contains("aria-invalid=\"true\" aria-describedby=\"env-fault\""));
    assert!(page.contains("value=\"busybox:latest\"") && page.contains("A=1\nB</textarea>"), "{page}");
    let (_, _, page) = browser.post("/ui/submit", &[("mode", "fields"), ("name", " "), ("queue", "no spaces")]).await;
    assert!(page.contains("id=\"name-fault\"") && page.contains("id=\"queue-fault\""), "{page}");

    let form = [
        ("mode", "fields"),
        ("idempotency_key", "console-1"),
        ("name", "from the form"),
        ("command", "sleep 600"),
        ("env", "TOKEN=geheim"),
        ("labels", "team=blue"),
        ("priority", "2"),
    ];
    let (led, page) = browser.done("/ui/submit", &form).await;
    let id = led.split(['/', '?']).nth(3).unwrap().to_owned();
    world.accepted.lock().unwrap().push(id.clone());
    assert!(page.contains("every slot of the global cap is held") && page.contains("from the form"), "{page}");
    let (again, _) = browser.done("/ui/submit", &form).await;
    assert_eq!(again, led, "the same form sent twice makes one job");

    // Values of variables are shown to those who ask.
    assert!(!page.contains("geheim") && page.contains("TOKEN"), "{page}");
    assert!(browser.get(&format!("/ui/jobs/{id}?show=env")).await.1.contains("geheim"));
    let (_, clone) = browser.get(&format!("/ui/submit?clone={id}")).await;
    assert!(clone.contains("value=\"from the form\"") && clone.contains("TOKEN=geheim</textarea>"), "{clone}");

    let (_, page) = browser.done(&format!("/ui/jobs/{id}/priority"), &[("priority", "7")]).await;
    assert!(page.contains("reprioritized") && page.contains("value=\"7\""), "{page}");
    let (status, _, page) = browser.post(&format!("/ui/jobs/{id}/priority"), &[("priority", "high")]).await;
    assert!(status == StatusCode::UNPROCESSABLE_ENTITY && page.contains("must be a whole number"), "{page}");
    let (_, board) = browser.get("/").await;
    assert!(board.contains(&format!("berth-{holder}")) && board.contains(&format!("next-{id}")), "{board}");
    let (_, list) = browser.get("/ui/jobs?state=pending&label=team%3Dblue&name=from*").await;
    assert!(list.contains(&id) && !list.contains(&holder), "{list}");
    assert!(list.contains("jobs?state=pending&#38;name=from%2A&#38;label=team%3Dblue"), "the same as JSON: {list}");

    let (_, page) = browser.done(&format!("/ui/jobs/{id}/cancel"), &[]).await;
    assert!(page.contains("<span class=\"state cancelled\">"), "{page}");
    let (status, _, page) = browser.post(&format!("/ui/jobs/{id}/cancel"), &[]).await;
    // Asking again changes nothing; what has ended otherwise says so.
    assert_eq!(status, StatusCode::SEE_OTHER, "{page}");
    let (_, page) = browser.done(&format!("/ui/jobs/{id}/retry"), &[]).await;
    assert!(page.contains("<span class=\"state pending\">"), "{page}");
    browser.done(&format!("/ui/jobs/{id}/cancel"), &[]).await;
    browser.done(&format!("/ui/jobs/{holder}/cancel"), &[]).await;
    world.reaches(&replica, &holder, "cancelled").await;
    let (status, _, page) = browser.post("/ui/jobs/01a1fcb1-bad6-74de-b7b2-70db52dec80a/retry", &[]).await;
    assert!(status == StatusCode::NOT_FOUND && page.contains("no_such_job"), "{page}");
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn queues_and_caps_are_set_by_forms_and_pages_of_other_sites_set_nothing() {
    let mut world = World::new(0).await;
    let replica = world.start(&[]).await;
    let browser = Browser::new(&replica);
    let (_, page) = browser.done("/ui/queues", &[("name", "gpu"), ("cap", "3"), ("max_pending", "")]).await;
    assert!(page.contains("Queue <bdi>gpu</bdi>"), "{page}");
    browser.done("/ui/queues/gpu", &[("act", "pause")]).await;
    assert_eq!(world.get(&replica, "/queues/gpu").await["paused"], true);
    let (_, board) = browser.get("/").await;
    assert!(board.contains("The queue gpu is paused") && board.contains("The global cap is 0"), "{board}");
    browser.done("/ui/queues/gpu", &[("act", "resume")]).await;
    browser.done("/ui/queues/gpu", &[("act", "set"), ("cap", ""), ("max_pending", "9")]).await;
    let queue = world.get(&replica, "/queues/gpu").await;
    assert_eq!((&queue["paused"], &queue["cap"], &queue["max_pending"]), (&json!(false), &Value::Null, &json!(9)));
    for (path, fields, field) in [
        ("/ui/queues", [("name", "no spaces"), ("cap", "1")], "/name"),
        ("/ui/queues/gpu", [("act", "set"), ("cap", "-1")], "/cap"),
        ("/ui/limits", [("cap", "many"), ("", "")], "/cap"),
    ] {
        let (status, _, page) = browser.post(path, &fields).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{path} {field} {page}");
        assert!(page.contains("role=\"alert\""), "{page}");
    }
    let world_cap = world.get(&replica, "/limits").await["cap"].clone();
    for path in ["/ui/limits", "/ui/queues", "/ui/submit", "/ui/jobs/bulk"] {
        let foreign = browser.http.post(format!("{replica}{path}")).header("origin", "http://evil.example");
        assert_eq!(filled(foreign, &[("cap", "50")]).send().await.unwrap().status(), 403, "{path}");
        let foreign = browser.http.post(format!("{replica}{path}")).header("sec-fetch-site", "cross-site");
        assert_eq!(filled(foreign, &[("cap", "50")]).send().await.unwrap().status(), 403, "{path}");
    }
    assert_eq!(world.get(&replica, "/limits").await["cap"], world_cap);
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_jobs_are_changed_only_after_a_count_and_never_those_that_came_later() {
    let mut world = World::new(0).await;
    let replica = world.start(&[]).await;
    let browser = Browser::new(&replica);
    for index in 0..3 {
        world.submit(&replica, &job(&format!("mine-{index}"), 50, 0).with("queue", json!("reports"))).await;
    }
    let other = world.submit(&replica, &job("other", 50, 0)).await;
    let (status, _, page) = browser.post("/ui/jobs/bulk", &[("action", "cancel"), ("step", "do")]).await;
    assert!(status == StatusCode::UNPROCESSABLE_ENTITY && page.contains("The filter is empty"), "{page}");

    let filter = [("queue", "reports"), ("name", "mine-*")];
    let with = |more: &[(&'static str, &'static str)]| [&filter[..], more].concat();
    let (status, _, page) = browser.post("/ui/jobs/bulk", &with(&[("action", "cancel"), ("step", "count")])).await;
    assert_eq!(status, StatusCode::OK);
    assert!(page.contains("Cancel 3 jobs") && page.contains("<bdi>mine-*</bdi>"), "{page}");
    assert_eq!(world.names(&replica, "pending").await.len(), 4, "counting changes nothing");
    let until = page.split("name=\"until\" value=\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
    let late = world.submit(&replica, &job("mine-late", 50, 0).with("queue", json!("reports"))).await;

    let signed_off: Vec<(&str, &str)> =
        with(&[("action", "cancel"), ("step", "do")]).into_iter().chain([("until", until.as_str())]).collect();
    let (led, _) = browser.done("/ui/jobs/bulk", &signed_off).await;
    assert!(led.ends_with("done=bulk-cancel.3"), "{led}");
    for id in [&late, &other] {
        assert_eq!(world.get(&replica, &format!("/jobs/{id}")).await["state"], "pending");
    }
    let (led, page) = browser.done("/ui/jobs/bulk", &with(&[("action", "retry"), ("step", "do")])).await;
    assert!(led.ends_with("done=bulk-retry.3") && page.contains("3 jobs waiting for a slot again"), "{led}");
    let change = with(&[("action", "reprioritize"), ("step", "do"), ("priority", "5")]);
    let (led, _) = browser.done("/ui/jobs/bulk", &change).await;
    assert!(led.ends_with("done=bulk-reprioritize.4"), "{led}");
    let (status, _, page) =
        browser.post("/ui/jobs/bulk", &with(&[("action", "reprioritize"), ("step", "count")])).await;
    assert!(status == StatusCode::UNPROCESSABLE_ENTITY && page.contains("which priority"), "{page}");
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_text_of_others_becomes_markup_on_any_page() {
    let mut world = World::new(0).await;
    let replica = world.start(&[]).await;
    let browser = Browser::new(&replica);
    let mut pages: Vec<String> =
        ["/", "/ui/jobs", "/ui/queues", "/ui/submit", "/ui/sources", "/ui/templates", "/ui/system"]
            .map(str::to_owned)
            .into();
    for text in HOSTILE {
        let hostile = job(text, 50, 0)
            .with("args", json!([text, "\u{1b}[31mred\u{7}"]))
            .with("env", json!({"A": text}))
            .with("annotations", json!({"example.com/note": text}));
        let id = world.submit(&replica, &hostile).await;
        pages.extend([format!("/ui/jobs/{id}?show=env"), format!("/ui/submit?clone={id}")]);
        // What is asked for comes back in the page as well.
        let mut url = reqwest::Url::parse(&replica).unwrap();
        for key in ["name", "queue", "label", "since", "reason", "state", "cursor", "done", "template", "clone", "mode"]
        {
            url.query_pairs_mut().append_pair(key, text);
        }
        let query = url.query().unwrap().to_owned();
        for path in ["/", "/ui/jobs", "/ui/submit", "/ui/queues", "/ui/templates"] {
            pages.push(format!("{path}?{query}"));
        }
        url.set_path(&format!("/ui/jobs/{}", text.replace('/', "%2F")));
        pages.push(url.path().to_owned());
        // A list of JSON is no template, and a page that is sent back shows what was typed.
        for mode in ["json", "template", "fields"] {
            let fields =
                ["json", "name", "queue", "env", "args", "template", "priority", "labels"].map(|it| (it, text));
            browser.post("/ui/submit", &[&[("mode", mode)], &fields[..]].concat()).await;
        }
        browser.post("/ui/queues", &[("name", text), ("cap", text)]).await;
        browser.post("/ui/jobs/bulk", &[("action", "cancel"), ("name", text), ("step", "count")]).await;
    }
    pages.push("/ui/nowhere/at/all".into());
    for path in &pages {
        // Whatever the answer is, it is a page that keeps its promises.
        let (status, _) = browser.get(path).await;
        assert!(!status.is_server_error(), "{path}: {status}");
    }
    let turned = pages.iter().filter(|it| it.starts_with("/ui/jobs/") && it.ends_with("show=env"));
    for path in turned.map(String::as_str).chain(["/", "/ui/jobs"]) {
        assert!(!browser.get(path).await.1.contains('\u{202e}'), "{path}: what turns the text around is shown instead");
    }
    let (_, page) = browser.get(&pages[7]).await;
    assert!(page.contains("&#60;script&#62;alert(1)&#60;/script&#62;") && page.contains("␛[31mred␇"), "{page}");
    world.finish().await;
}

/// The ids of the first `count` messages of the stream of changes.
async fn samples(browser: &Browser, page: &str, count: usize) -> Vec<u64> {
    let answer = browser.http.get(format!("{}/ui/live?page={page}", browser.url)).send().await.unwrap();
    assert_eq!(answer.headers()["content-type"], "text/event-stream");
    let (mut text, mut answer) = (String::new(), answer);
    let ids = |text: &str| -> Vec<u64> {
        let whole = text.rsplit_once("\n\n").map_or("", |it| it.0);
        whole.lines().filter_map(|it| it.strip_prefix("id: ")?.parse().ok()).collect()
    };
    while ids(&text).len() < count {
        text.push_str(&String::from_utf8_lossy(&answer.chunk().await.unwrap().unwrap()));
    }
    ids(&text)
}

#[tokio::test(flavor = "multi_thread")]
async fn however_many_look_the_database_is_asked_once_a_period_and_when_it_is_away_pages_say_so() {
    let mut world = World::new(2).await;
    let host = world.url.split(['@', '/']).nth(3).unwrap().to_owned();
    let proxy = Proxy::to(host.clone()).await;
    let replica = world.start_on(&world.url.replace(&host, &proxy.address.to_string()), &[]).await;
    let holder = world.submit(&replica, &job("holder", 600_000, 0)).await;
    world.reaches(&replica, &holder, "running").await;
    let browser = Browser::new(&replica);
    let begun = Instant::now();
    let streams = (0..30).map(|index| samples(&browser, if index % 2 == 0 { "overview" } else { "page" }, 3));
    let seen: Vec<Vec<u64>> = futures::future::join_all(streams).await;
    let newest = seen.iter().flatten().max().copied().unwrap();
    // Ninety samples, had each taken its own: there is no more than one a period, however long all of this took.
    let most = 1 + begun.elapsed().as_nanos() / PERIOD.as_nanos();
    assert!(u128::from(newest) <= most, "{newest} samples in {:?}", begun.elapsed());
    assert!(seen.iter().all(|it| it.windows(2).all(|pair| pair[0] < pair[1])), "{seen:?}");

    let shown = |page: &str| page.contains(&format!("berth-{holder}"));
    assert!(shown(&browser.get("/").await.1));
    proxy.set(Mode::Refuse);
    let page = eventually("the overview says that the database is away", async || {
        let (status, page) = browser.get("/").await;
        assert_eq!(status, StatusCode::OK);
        assert!(shown(&page), "what was seen before stays");
        page.contains("The database cannot be used right now").then_some(page)
    })
    .await;
    assert!(page.contains("Not up to date."), "{page}");
    for path in ["/ui/jobs", "/ui/queues", "/ui/submit", "/ui/templates", "/ui/sources", "/ui/system"] {
        let (_, page) = browser.get(path).await;
        assert!(page.contains("role=\"alert\"") && page.contains("database"), "{path}: {page}");
    }
    let (status, _, page) = browser.post("/ui/submit", &[("mode", "fields"), ("name", "kept in the form")]).await;
    assert!(status == StatusCode::SERVICE_UNAVAILABLE && page.contains("value=\"kept in the form\""), "{page}");
    proxy.set(Mode::Pass);
    eventually("the overview is up to date again", async || {
        (!browser.get("/").await.1.contains("Not up to date.")).then_some(())
    })
    .await;
    world.cancel(&replica, &holder).await;
    world.reaches(&replica, &holder, "cancelled").await;
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_belongs_to_the_pages_is_small_and_kept_by_browsers_for_good() {
    let mut world = World::new(0).await;
    let replica = world.start(&[]).await;
    let browser = Browser::new(&replica);
    let (_, page) = browser.get("/").await;
    assert!(page.len() <= 30 * 1024, "the first page has {} bytes", page.len());
    let named: Vec<&str> = page.split('"').filter(|it| it.contains("ui/assets/")).collect();
    let mut bytes = 0;
    for path in &named {
        let answer = world.http.get(format!("{replica}/{path}")).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK, "{path}");
        assert_eq!(answer.headers()["cache-control"], "public, max-age=31536000, immutable");
        assert_eq!(answer.headers()["x-content-type-options"], "nosniff");
        bytes += answer.bytes().await.unwrap().len();
    }
    assert!(named.len() == 3 && bytes <= 150 * 1024, "{named:?} have {bytes} bytes");
    let other = world.http.get(format!("{replica}/ui/assets/style.0.css")).send().await.unwrap();
    assert_eq!(other.status(), StatusCode::NOT_FOUND);
    // Links are relative, so that a proxy may put all of this below a path of its own.
    for path in ["/", "/ui/jobs", "/ui/queues/default"] {
        let (_, page) = browser.get(path).await;
        for absolute in ["href=\"/", "src=\"/", "action=\"/"] {
            assert!(!page.contains(absolute), "{path} has {absolute}");
        }
    }
    assert!(PERIOD >= Duration::from_secs(1));
    world.finish().await;
}
