//! How long are the certificates valid?

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use super::{Check, Context, Finding, Verdict};
use crate::cli::units::date;
use crate::core::time::ClockQuality;
use crate::core::x509::{Validity, validity};
use crate::shell::{clock, tls};

pub(super) const CHECK: Check = Check {
    id: "certificates",
    title: "Certificates",
    reason: "on the day a certificate expires, the vehicle falls silent",
    needs_config: true,
    run,
};

/// From here on a warning: long enough to meet the vehicle in its garage.
const WARN_DAYS: i64 = 30;

const DAY_MS: i64 = 86_400_000;

fn run(context: &Context) -> Vec<Finding> {
    let mqtt = &context.config.mqtt;
    let files = [&mqtt.ca_file, &mqtt.certificate_file];
    let files: Vec<_> = files.into_iter().flatten().collect();
    if files.is_empty() {
        return Finding::skipped("none are configured");
    }
    let now = clock::now();
    if now.quality == ClockQuality::Unset {
        return Finding::skipped("the clock is not set, so nothing can be said");
    }
    let findings: Vec<Finding> = files
        .into_iter()
        .flat_map(|path| {
            // A file that cannot be read is the finding of another check.
            let content = tls::read_small_file(path).unwrap_or_default();
            CertificateDer::pem_slice_iter(&content)
                .flatten()
                .map(|certificate| {
                    judge(&path.display().to_string(), validity(&certificate), now.wall_ms)
                })
                .collect::<Vec<_>>()
        })
        .collect();
    let faulty = findings.iter().any(|finding| finding.verdict != Verdict::Ok);
    findings.into_iter().filter(|finding| !faulty || finding.verdict != Verdict::Ok).collect()
}

fn judge(path: &str, validity: Option<Validity>, now_ms: i64) -> Finding {
    let Some(Validity { from_ms, until_ms }) = validity else {
        return Finding::warning(
            format!("{path} holds a certificate without readable dates"),
            "see `openssl x509 -noout -dates`",
        );
    };
    let renew = "have a new certificate made; the agent reads it at its next connection";
    if now_ms > until_ms {
        return Finding::error(format!("{path} expired on {}", date(until_ms)), renew);
    }
    if now_ms < from_ms {
        return Finding::error(
            format!("{path} is not valid before {}", date(from_ms)),
            "check the clock of this machine and of the authority",
        );
    }
    let days = (until_ms - now_ms) / DAY_MS;
    if days < WARN_DAYS {
        return Finding::warning(format!("{path} expires in {days} days"), renew);
    }
    Finding {
        verdict: Verdict::Ok,
        text: format!("{path} is valid for {days} days"),
        remedy: String::new(),
    }
}
