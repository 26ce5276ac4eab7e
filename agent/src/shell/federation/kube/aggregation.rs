//! The four requests of an agent that serves an API beside Kubernetes: how the cluster's proxy is known, and the APIServices
//! that lead here. Needs `custom-metrics.yaml` to have been applied, and no more rights than that gives.

use hyper::Method;

use super::{Cluster, PAUSE};
use crate::core::membership::Outcome;
use crate::core::membership::custom_metrics::GROUP;
use crate::core::membership::kube::aggregation::{ApiService, ProxyTrust};
use crate::core::membership::kube::answer::Meaning;
use crate::core::membership::kube::{JSON, MERGE_PATCH, node};
use crate::shell::federation::kube::wire::Request;

const AUTHENTICATION: &str =
    "/api/v1/namespaces/kube-system/configmaps/extension-apiserver-authentication";

impl Cluster {
    /// How the cluster's proxy is known.
    ///
    /// # Errors
    /// What hinders.
    pub async fn proxy_trust(&mut self) -> Result<ProxyTrust, Outcome> {
        let doing = "reading how the cluster's proxy is known";
        let body = self.get(AUTHENTICATION, doing).await?;
        // One that is not there says as little as an empty one.
        ProxyTrust::read(&body.unwrap_or_else(|| b"{}".to_vec())).map_err(Outcome::Refused)
    }

    /// The APIService of a version of the custom metrics API; `None` when there is none.
    ///
    /// # Errors
    /// What hinders.
    pub async fn api_service(&mut self, version: &str) -> Result<Option<ApiService>, Outcome> {
        let doing = format!("reading the APIService {version}.{GROUP}");
        let body = self.get(&path(version), &doing).await?;
        body.map(|body| ApiService::read(&body).map_err(Outcome::Refused)).transpose()
    }

    /// Has the APIService, as it was read, lead to who has this certificate: PEM in base64.
    ///
    /// # Errors
    /// What hinders.
    pub async fn lead_here(
        &mut self,
        version: &str,
        service: &ApiService,
        ca_bundle: &str,
        vehicle: &str,
    ) -> Result<(), Outcome> {
        let body = (MERGE_PATCH, service.trusting(ca_bundle, vehicle));
        self.change(Method::PATCH, version, body, "registering at").await
    }

    /// Deletes the APIService that was read.
    ///
    /// # Errors
    /// What hinders.
    pub async fn withdraw(&mut self, version: &str, service: &ApiService) -> Result<(), Outcome> {
        let body = (JSON, node::delete(&service.uid));
        self.change(Method::DELETE, version, body, "deleting").await
    }

    async fn change(
        &mut self,
        method: Method,
        version: &str,
        body: (&'static str, Vec<u8>),
        verb: &str,
    ) -> Result<(), Outcome> {
        let doing = format!("{verb} the APIService {version}.{GROUP}");
        let request = Request { method, path: &path(version), body: Some(body) };
        match self.wire.ask(&request).await?.answer().judge(&doing)? {
            // One that is gone is looked at anew next time.
            Meaning::Good | Meaning::Missing => Ok(()),
            Meaning::Conflict(text) => {
                Err(Outcome::NotYet { after: PAUSE, text: format!("{doing}: {text}") })
            }
        }
    }
}

fn path(version: &str) -> String {
    format!("/apis/apiregistration.k8s.io/v1/apiservices/{version}.{GROUP}")
}
