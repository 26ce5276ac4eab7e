//! What an API that is served beside Kubernetes has to know and to say (Kubernetes, "Configure the aggregation layer"): by whom
//! its proxy is vouched for, and which certificate an APIService leads to.

use serde_json::{Value, json};

use super::VEHICLE;
use super::json::{list, read, text};

/// The Service of `custom-metrics.yaml`: its namespace, and its name.
pub const SERVICE: [&str; 2] = ["outrider-host", "outrider-metrics"];

/// By what name the proxy of the API server knows that Service, which its certificate has to be for.
pub const SERVICE_NAME: &str = "outrider-metrics.outrider-host.svc";

/// How the proxy of a cluster's API servers is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxyTrust {
    /// The authority that its certificate is of, in PEM.
    pub authority: String,
    /// Common names that the certificate may have; any when there is none.
    pub names: Vec<String>,
}

impl ProxyTrust {
    /// Reads the ConfigMap `extension-apiserver-authentication`.
    ///
    /// # Errors
    /// It does not say it.
    pub fn read(body: &[u8]) -> Result<ProxyTrust, String> {
        let map = read(body)?;
        let data = |key: &str| text(&map["data"], key);
        let missing = "the server does not say how its proxy is known: it was started without --requestheader-client-ca-file";
        let authority = data("/requestheader-client-ca-file").to_owned();
        let names = serde_json::from_str(data("/requestheader-allowed-names"));
        match names {
            Ok(names) if !authority.is_empty() => Ok(ProxyTrust { authority, names }),
            Ok(_) | Err(_) => Err(missing.to_owned()),
        }
    }
}

/// An APIService.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ApiService {
    /// Identity.
    pub uid: String,
    /// Version of the object.
    resource_version: String,
    /// It leads to [`SERVICE`].
    pub is_ours: bool,
    /// Id of the vehicle whose agent has registered it last, or nothing.
    pub owner: String,
    /// Why the API server cannot use it, or nothing.
    pub unavailable: String,
    /// What vouches for who answers there: PEM in base64, or nothing.
    pub ca_bundle: String,
}

impl ApiService {
    /// Reads one.
    ///
    /// # Errors
    /// It is none.
    pub fn read(body: &[u8]) -> Result<ApiService, String> {
        let object = read(body)?;
        let service =
            [text(&object, "/spec/service/namespace"), text(&object, "/spec/service/name")];
        Ok(ApiService {
            uid: text(&object, "/metadata/uid").to_owned(),
            resource_version: text(&object, "/metadata/resourceVersion").to_owned(),
            is_ours: service == SERVICE,
            owner: object["metadata"]["annotations"][VEHICLE]
                .as_str()
                .unwrap_or_default()
                .to_owned(),
            unavailable: unavailable(&object).unwrap_or_default(),
            ca_bundle: text(&object, "/spec/caBundle").to_owned(),
        })
    }

    /// Merge patch by which it leads to the agent of `vehicle`, which has this certificate, unless somebody changes it meanwhile.
    #[must_use]
    pub fn trusting(&self, ca_bundle: &str, vehicle: &str) -> Vec<u8> {
        let metadata = json!({
            "resourceVersion": self.resource_version, "annotations": { VEHICLE: vehicle },
        });
        let patch = json!({ "metadata": metadata, "spec": { "caBundle": ca_bundle } });
        patch.to_string().into_bytes()
    }
}

/// The message of the condition Available, when it is False.
fn unavailable(object: &Value) -> Option<String> {
    let mut conditions = list(object, "/status/conditions").iter();
    let available = conditions.find(|condition| text(condition, "/type") == "Available")?;
    (text(available, "/status") == "False").then(|| text(available, "/message").to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_the_proxy_is_known_is_read_or_missed() {
        let map = br#"{"data":{"client-ca-file":"x","requestheader-allowed-names":"[\"system:auth-proxy\"]",
            "requestheader-client-ca-file":"PEM"}}"#;
        let trust = ProxyTrust::read(map).unwrap();
        assert_eq!(
            (trust.authority.as_str(), &trust.names[..]),
            ("PEM", &["system:auth-proxy".to_owned()][..])
        );
        for without in [
            &b"{}"[..],
            br#"{"data":{"requestheader-allowed-names":"[]"}}"#,
            br#"{"data":{"requestheader-client-ca-file":"PEM"}}"#,
            br#"{"data":{"requestheader-client-ca-file":"PEM","requestheader-allowed-names":"a"}}"#,
        ] {
            assert!(ProxyTrust::read(without).unwrap_err().contains("how its proxy is known"));
        }
    }

    #[test]
    fn an_api_service_of_another_is_told_from_ours() {
        let of = |service: &str| {
            let object = format!(
                r#"{{"metadata":{{"uid":"u","resourceVersion":"7"}},"spec":{{"service":{service},"caBundle":"QQ=="}}}}"#
            );
            ApiService::read(object.as_bytes()).unwrap()
        };
        let ours = of(r#"{"namespace":"outrider-host","name":"outrider-metrics","port":443}"#);
        assert!(ours.is_ours && ours.uid == "u" && ours.ca_bundle == "QQ==");
        let patch: Value = serde_json::from_slice(&ours.trusting("Qg==", "alpha")).unwrap();
        let metadata = json!({ "resourceVersion": "7", "annotations": { VEHICLE: "alpha" } });
        assert_eq!(patch, json!({ "metadata": metadata, "spec": { "caBundle": "Qg==" } }));
        assert_eq!((ours.owner.as_str(), ours.unavailable.as_str()), ("", ""));
        let owned = br#"{"metadata":{"annotations":{"outrider.internal/vehicle":"bravo"}},"status":{"conditions":[
            {"type":"Other","status":"False","message":"?"},
            {"type":"Available","status":"False","message":"no endpoints"}]}}"#;
        let owned = ApiService::read(owned).unwrap();
        assert_eq!((owned.owner.as_str(), owned.unavailable.as_str()), ("bravo", "no endpoints"));
        assert!(!of(r#"{"namespace":"monitoring","name":"prometheus-adapter"}"#).is_ours);
        assert!(!of("null").is_ours, "one that the server answers itself");
        assert_eq!(SERVICE_NAME, format!("{}.{}.svc", SERVICE[1], SERVICE[0]));
    }
}
