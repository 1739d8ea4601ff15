//! Calls of one service in one region.

use std::time::Duration;

use bkhost_sdk::http::{self, Method, Request, Response};
use bkhost_sdk::{debug, info};

use crate::{Backoff, Deadline, Element, Failure, Parameters};

/// A longer list is none of ours.
const PAGES: usize = 10_000;

/// How often expired credentials are tried again: the host may be renewing them.
const RENEWALS: u32 = 3;

/// A service in a region. Its server has to be one of the plugin's manifest, with `[http.sign]`.
#[derive(Debug, Clone)]
pub struct Client {
    endpoint: String,
    version: &'static str,
    /// The name of the token that asks for the next page, in a request and in an answer.
    token: (&'static str, &'static str),
    patience: Duration,
    attempt: Duration,
    /// The name of its entry in the manifest, if it has one.
    entry: Option<String>,
}

/// A URL that the host signs and puts into the call's parameters, for a service that has to ask another region of itself in
/// the caller's name. Nobody but the service ever sees it signed.
#[derive(Debug, Clone)]
pub struct Presigned {
    parameter: String,
    url: String,
}

impl Presigned {
    /// For this parameter (`PresignedUrl`): a GET of this call.
    #[must_use]
    pub fn new(parameter: &str, client: &Client, action: &str, parameters: &Parameters) -> Self {
        let url = format!("{}/?{}", client.endpoint, client.form(action, parameters));
        Self { parameter: parameter.to_owned(), url }
    }
}

/// What may be sent a second time.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Again {
    /// Whatever its outcome.
    Always,
    /// Only what was refused.
    Refused,
}

impl Client {
    /// EC2 and EBS. `endpoint` replaces the region's public one.
    #[must_use]
    pub fn ec2(region: &str, endpoint: Option<&str>) -> Self {
        Self::new("ec2", "2016-11-15", ("NextToken", "nextToken"), region, endpoint)
    }

    /// RDS and Aurora.
    #[must_use]
    pub fn rds(region: &str, endpoint: Option<&str>) -> Self {
        Self::new("rds", "2014-10-31", ("Marker", "Marker"), region, endpoint)
    }

    fn new(
        service: &str,
        version: &'static str,
        token: (&'static str, &'static str),
        region: &str,
        endpoint: Option<&str>,
    ) -> Self {
        let domain = if region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" };
        let endpoint = endpoint.map_or_else(|| format!("https://{service}.{region}.{domain}"), str::to_owned);
        Self {
            endpoint: endpoint.trim_end_matches('/').to_owned(),
            version,
            token,
            patience: Duration::from_secs(60),
            attempt: Duration::from_secs(30),
            entry: None,
        }
    }

    /// The same client, asking by the manifest's entry of this name (`[[http]] as`): signed for another region or by another
    /// role.
    #[must_use]
    pub fn entry(&self, name: &str) -> Self {
        Self { entry: Some(name.to_owned()), ..self.clone() }
    }

    /// The same client that goes on for so long with a call that fails only for now, pauses included.
    #[must_use]
    pub fn patience(&self, patience: Duration) -> Self {
        Self { patience, ..self.clone() }
    }

    /// Where its calls go.
    #[must_use]
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// A call that only looks: it is repeated whatever happens to it, and sent in a dry run too. The answer's `…Result`, or
    /// the whole answer where there is none (EC2).
    ///
    /// # Errors
    /// The last attempt's.
    pub fn read(&self, action: &str, parameters: &Parameters) -> Result<Element, Failure> {
        let answer = self.repeat(Method::Get, action, parameters, Again::Always, None)?;
        Ok(answer.unwrap_or_default())
    }

    /// A call that changes something and must not happen twice: it is repeated only after a refusal. None in a dry run.
    ///
    /// # Errors
    /// The last attempt's. If that is [uncertain](Failure::is_uncertain), look for what it should have made.
    pub fn change(&self, action: &str, parameters: &Parameters) -> Result<Option<Element>, Failure> {
        self.repeat(Method::Post, action, parameters, Again::Refused, None)
    }

    /// As [`change`](Self::change), with a URL that the host signs.
    ///
    /// # Errors
    /// As [`change`](Self::change).
    pub fn change_with(
        &self,
        action: &str,
        parameters: &Parameters,
        presigned: Option<&Presigned>,
    ) -> Result<Option<Element>, Failure> {
        self.repeat(Method::Post, action, parameters, Again::Refused, presigned)
    }

    /// A call that changes something and may arrive twice, because it names what it makes or deletes, or carries a token. A
    /// repetition may meet what the first attempt has done: `…AlreadyExists`, `…NotFound`. None in a dry run.
    ///
    /// # Errors
    /// The last attempt's.
    pub fn change_again(&self, action: &str, parameters: &Parameters) -> Result<Option<Element>, Failure> {
        self.repeat(Method::Post, action, parameters, Again::Always, None)
    }

    /// All elements of the list at this path of the answer (`DBSnapshots`, `snapshotSet`), from all pages.
    ///
    /// # Errors
    /// As [`read`](Self::read); `corrupt` if the pages do not end.
    pub fn list(&self, action: &str, parameters: &Parameters, list: &str) -> Result<Vec<Element>, Failure> {
        let (asks, answers) = self.token;
        let mut all = Vec::new();
        let mut token: Option<String> = None;
        for _ in 0..PAGES {
            let page = self.read(action, &parameters.clone().maybe(asks, token.as_deref()))?;
            all.extend_from_slice(page.list(list));
            let next = page.get(answers).map(str::to_owned);
            if next.is_none() {
                return Ok(all);
            }
            if next == token {
                return Err(Failure::corrupt(action, "the list does not end: a page says that it follows itself"));
            }
            token = next;
        }
        Err(Failure::corrupt(action, "the list does not end"))
    }

    fn repeat(
        &self,
        method: Method,
        action: &str,
        parameters: &Parameters,
        again: Again,
        presigned: Option<&Presigned>,
    ) -> Result<Option<Element>, Failure> {
        let form = self.form(action, parameters);
        let deadline = Deadline::after(self.patience);
        let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(5));
        let mut attempts = 0;
        let mut renewals = 0;
        loop {
            attempts += 1;
            let failure = match self.once(method, action, (&form, presigned), &deadline) {
                Ok(answer) => return Ok(answer),
                Err(failure) => failure,
            };
            renewals += u32::from(failure.is_expired());
            let repeat = failure.is_transient()
                && (again == Again::Always || !failure.is_uncertain())
                && renewals <= RENEWALS
                && backoff.wait(&deadline);
            if !repeat {
                return Err(failure.after(attempts));
            }
            debug!("{action} again after {} attempts", attempts);
        }
    }

    fn form(&self, action: &str, parameters: &Parameters) -> String {
        let call = Parameters::new().set("Action", action).set("Version", self.version);
        format!("{}&{}", call.encode(), parameters.encode()).trim_end_matches('&').to_owned()
    }

    fn once(
        &self,
        method: Method,
        action: &str,
        (form, presigned): (&str, Option<&Presigned>),
        deadline: &Deadline,
    ) -> Result<Option<Element>, Failure> {
        // Even the last attempt gets the time that an answer usually takes.
        let timeout = self.attempt.min(deadline.left().max(Duration::from_secs(5)));
        let request = if method == Method::Get {
            Request::new(method, format!("{}/?{form}", self.endpoint))
        } else {
            Request::new(method, format!("{}/", self.endpoint))
                .header("content-type", "application/x-www-form-urlencoded; charset=utf-8")
                .body(form)
        };
        let request = match &self.entry {
            Some(entry) => request.header(http::AS, entry),
            None => request,
        };
        let request = match presigned {
            Some(Presigned { parameter, url }) => request.header(http::PRESIGN, format!("{parameter} {url}")),
            None => request,
        };
        let response = http::send(request.timeout(timeout)).map_err(|error| Failure::of_host(action, error))?;
        if response.planned {
            info!("{action} would be called with {form}");
            return Ok(None);
        }
        answer(action, &response).map(Some)
    }
}

fn answer(action: &str, response: &Response) -> Result<Element, Failure> {
    let parsed = if response.status == 200 { Element::parse(&response.text()).ok() } else { None };
    // What a proxy on the way makes up is no answer to this.
    match parsed.filter(|answer| answer.name() == format!("{action}Response")) {
        Some(answer) => Ok(answer.at(&format!("{action}Result")).cloned().unwrap_or(answer)),
        None => Err(Failure::of_answer(action, response)),
    }
}

#[cfg(test)]
mod tests;
