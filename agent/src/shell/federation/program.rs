//! Runs a program of this machine to its end, within bounded time, without a shell.

use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Command;
use tokio::time::timeout;

/// What a program has written can be read so long after its end. A daemon that it left may hold its output open for ever.
const LINGER: Duration = Duration::from_millis(200);

/// How a program ended.
#[derive(Debug)]
pub struct Said {
    /// Its status; `None` when a signal ended it.
    pub code: Option<i32>,
    /// What it printed.
    pub output: String,
    /// What it complained of.
    pub error: String,
}

/// Runs `words` with `input`, and kills it after `patience`.
///
/// # Errors
/// It cannot be started or does not end; the text names the command.
pub async fn run(words: &[String], input: &str, patience: Duration) -> Result<Said, String> {
    talk(words, input, patience, true).await
}

/// Runs `words`, which nobody waits for after `patience`, and which go on then: a service manager that is cut short remembers a service
/// that never came up or down.
///
/// # Errors
/// As those of [`run`].
pub async fn order(words: &[String], patience: Duration) -> Result<Said, String> {
    talk(words, "", patience, false).await
}

async fn talk(
    words: &[String],
    input: &str,
    patience: Duration,
    dies: bool,
) -> Result<Said, String> {
    let failed = |why: String| format!("`{}` cannot be asked: {why}", words.join(" "));
    let (program, arguments) =
        words.split_first().ok_or_else(|| failed("it is empty".to_owned()))?;
    let mut command = Command::new(program);
    command.args(arguments).kill_on_drop(dies);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|error| failed(error.to_string()))?;
    let (mut output, mut error) = (Vec::new(), Vec::new());
    let pipes = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let (Some(mut stdin), Some(mut stdout), Some(mut stderr)) = pipes else {
        return Err(failed("it has no pipes".to_owned()));
    };
    let code = {
        let talk = async {
            let write = async {
                // One that does not read its input ends early and says why.
                let _ = stdin.write_all(input.as_bytes()).await;
                drop(stdin);
            };
            let read = (stdout.read_to_end(&mut output), stderr.read_to_end(&mut error));
            let _ = tokio::join!(write, read.0, read.1);
        };
        tokio::pin!(talk);
        let end = async {
            let mut talking = true;
            let status = loop {
                tokio::select! {
                    () = &mut talk, if talking => talking = false,
                    status = child.wait() => break status,
                }
            };
            if talking {
                let _ = timeout(LINGER, &mut talk).await;
            }
            status
        };
        let ended = timeout(patience, end)
            .await
            .map_err(|_| failed(format!("no answer within {} s", patience.as_secs())))?;
        ended.map_err(|error| failed(error.to_string()))?.code()
    };
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ok(Said { code, output: text(&output), error: text(&error).trim().to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(script: &str) -> Vec<String> {
        ["sh", "-c", script].map(str::to_owned).into()
    }

    #[tokio::test]
    async fn status_output_and_complaint_are_told() {
        let said = run(&words("cat; echo no >&2; exit 3"), "yes\n", LIMIT).await.unwrap();
        assert_eq!(
            (said.code, said.output.as_str(), said.error.as_str()),
            (Some(3), "yes\n", "no")
        );
        let said = run(&words("kill -9 $$"), "", LIMIT).await.unwrap();
        assert_eq!(said.code, None);
        let much = "x".repeat(1 << 20);
        let said = run(&words("cat"), &much, LIMIT).await.unwrap();
        assert_eq!(said.output.len(), much.len());
    }

    #[tokio::test]
    async fn a_daemon_that_holds_the_output_open_is_not_waited_for() {
        let said = run(&words("sleep 100 & echo $!"), "", LIMIT).await.unwrap();
        assert_eq!(said.code, Some(0));
        let kill = ["kill".to_owned(), said.output.trim().to_owned()];
        assert_eq!(run(&kill, "", LIMIT).await.unwrap().code, Some(0));
    }

    #[tokio::test]
    async fn one_that_does_not_end_or_does_not_exist_is_an_error() {
        let text = run(&words("sleep 100"), "", Duration::from_millis(50)).await.unwrap_err();
        assert!(text.contains("no answer"), "{text}");
        let missing = ["/no/such/program".to_owned()];
        assert!(run(&missing, "", LIMIT).await.unwrap_err().contains("/no/such/program"));
        assert!(run(&[], "", LIMIT).await.is_err());
    }

    const LIMIT: Duration = Duration::from_secs(60);
}
