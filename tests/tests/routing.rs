//! Which node answers, and what happens when one does not: through the HTTP door, with simulated nodes.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use lamplighter_simnode::{Profile, SimModel, SimNode};
use lamplighter_tests::house::Gateway;

/// Loaded goes before free, whatever the order of the configuration.
#[tokio::test(flavor = "multi_thread")]
async fn loaded_first() {
    let cold = SimNode::start(Profile::ollama("cold").model(SimModel::new("m"))).await.unwrap();
    let warm = SimNode::start(Profile::ollama("warm").model(SimModel::new("m").loaded(true))).await.unwrap();
    let gateway = Gateway::over(&[&cold, &warm], "").await;
    let answer = gateway.chat("m", false).send().await.unwrap();
    assert_eq!(answer.headers()["x-lamplighter-node"], "warm");
    assert_eq!(answer.headers()["x-lamplighter-reason"], "loaded, with a free place");
    assert_eq!((cold.stats().generations_started, warm.stats().generations_started), (0, 1));
}
