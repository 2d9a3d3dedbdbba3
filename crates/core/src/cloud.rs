//! Microsoft's clouds: where each signs in, where its Graph is, and what its tokens name. Data.
//!
//! The operator may replace the hosts of the global cloud (`graph.base_url`, `graph.login_url`), as tests and the
//! simulator do; what tokens name stays the same then.

use url::Url;

use crate::id::TenantId;

/// Which cloud.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CloudName {
    /// The global one, and the US government's community cloud.
    Global,
    /// US Government L4 (GCC High).
    UsGovernmentL4,
    /// US Government L5 (`DoD`).
    UsGovernmentL5,
    /// China, run by 21Vianet.
    China,
}

struct Hosts {
    word: &'static str,
    login: &'static str,
    graph: &'static str,
    v1_issuer: &'static str,
}

const HOSTS: [Hosts; 4] = [
    Hosts {
        word: "global",
        login: "https://login.microsoftonline.com",
        graph: "https://graph.microsoft.com",
        v1_issuer: "https://sts.windows.net/",
    },
    Hosts {
        word: "us-l4",
        login: "https://login.microsoftonline.us",
        graph: "https://graph.microsoft.us",
        v1_issuer: "https://sts.windows.net/",
    },
    Hosts {
        word: "us-l5",
        login: "https://login.microsoftonline.us",
        graph: "https://dod-graph.microsoft.us",
        v1_issuer: "https://sts.windows.net/",
    },
    Hosts {
        word: "china",
        login: "https://login.partner.microsoftonline.cn",
        graph: "https://microsoftgraph.chinacloudapi.cn",
        v1_issuer: "https://sts.chinacloudapi.cn/",
    },
];

impl CloudName {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Global, Self::UsGovernmentL4, Self::UsGovernmentL5, Self::China];

    /// The word for it in the store and in metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.hosts().word
    }

    const fn hosts(self) -> &'static Hosts {
        match self {
            Self::Global => &HOSTS[0],
            Self::UsGovernmentL4 => &HOSTS[1],
            Self::UsGovernmentL5 => &HOSTS[2],
            Self::China => &HOSTS[3],
        }
    }
}

/// A cloud, after the operator's replacements.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cloud {
    /// Which one.
    pub name: CloudName,
    /// Its sign-in host.
    pub login_url: Url,
    /// Its Graph, without a version.
    pub graph_url: Url,
    /// What the issuer of its v1 tokens begins with; the tenant and a slash follow.
    pub v1_issuer: &'static str,
    /// The scope that stands for all permissions an app was granted in it.
    pub scope: String,
}

impl Cloud {
    /// The issuer of v1 tokens for `tenant`.
    #[must_use]
    pub fn v1_issuer_of(&self, tenant: TenantId) -> String {
        format!("{}{tenant}/", self.v1_issuer)
    }

    /// The issuer of v2 tokens for `tenant`.
    #[must_use]
    pub fn v2_issuer_of(&self, tenant: TenantId) -> String {
        format!("{}/{tenant}/v2.0", self.login_url.as_str().trim_end_matches('/'))
    }

    /// Where tokens are asked for; `tenant` is one segment of the path.
    #[must_use]
    pub fn token_url(&self, tenant: &str) -> Url {
        let mut url = self.login_url.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend([tenant, "oauth2", "v2.0", "token"]);
        }
        url
    }
}

/// All clouds, as this installation reaches them.
#[derive(Debug, Clone)]
pub struct Clouds {
    login_url: Url,
    graph_url: Url,
}

impl Clouds {
    /// The clouds, with these hosts for the global one.
    #[must_use]
    pub const fn new(login_url: Url, graph_url: Url) -> Self {
        Self { login_url, graph_url }
    }

    /// The cloud of that name.
    #[must_use]
    pub fn named(&self, name: CloudName) -> Cloud {
        let hosts = name.hosts();
        let (login_url, graph_url) = if name == CloudName::Global {
            (self.login_url.clone(), self.graph_url.clone())
        } else {
            (constant(hosts.login), constant(hosts.graph))
        };
        Cloud {
            name,
            login_url,
            graph_url,
            v1_issuer: hosts.v1_issuer,
            scope: format!("{}/.default", hosts.graph),
        }
    }
}

impl Default for Clouds {
    /// The clouds as Microsoft runs them.
    fn default() -> Self {
        let hosts = CloudName::Global.hosts();
        Self { login_url: constant(hosts.login), graph_url: constant(hosts.graph) }
    }
}

#[expect(clippy::expect_used, reason = "the texts are constants, and a test parses every one of them")]
fn constant(text: &str) -> Url {
    Url::parse(text).expect("a constant of this file")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cloud_has_its_own_hosts_and_scope() {
        let clouds = Clouds::default();
        for (name, hosts) in CloudName::ALL.into_iter().zip(&HOSTS) {
            let cloud = clouds.named(name);
            assert_eq!(cloud.name, name);
            assert_eq!(cloud.login_url, Url::parse(hosts.login).unwrap());
            assert_eq!(cloud.graph_url, Url::parse(hosts.graph).unwrap());
            assert_eq!(cloud.scope, format!("{}/.default", hosts.graph));
            assert_eq!(cloud.name.as_str(), hosts.word);
        }
    }

    #[test]
    fn the_operators_hosts_replace_the_global_clouds_and_no_others() {
        let (login, graph) = (
            Url::parse("http://127.0.0.1:9/login").unwrap(),
            Url::parse("http://127.0.0.1:9/graph").unwrap(),
        );
        let clouds = Clouds::new(login.clone(), graph.clone());
        let global = clouds.named(CloudName::Global);
        assert_eq!((&global.login_url, &global.graph_url), (&login, &graph));
        assert_eq!(global.scope, "https://graph.microsoft.com/.default");
        assert_eq!(clouds.named(CloudName::China), Clouds::default().named(CloudName::China));
    }

    #[test]
    fn issuers_and_token_urls_name_the_tenant() {
        let tenant: TenantId = "11111111-2222-4333-8444-555555555555".parse().unwrap();
        let cloud = Clouds::default().named(CloudName::China);
        assert_eq!(cloud.v1_issuer_of(tenant), format!("https://sts.chinacloudapi.cn/{tenant}/"));
        assert_eq!(
            cloud.v2_issuer_of(tenant),
            format!("https://login.partner.microsoftonline.cn/{tenant}/v2.0")
        );
        let behind = Clouds::new(
            Url::parse("http://127.0.0.1:9/login/").unwrap(),
            Url::parse("http://127.0.0.1:9").unwrap(),
        );
        assert_eq!(
            behind.named(CloudName::Global).token_url(&tenant.to_string()).as_str(),
            format!("http://127.0.0.1:9/login/{tenant}/oauth2/v2.0/token")
        );
    }
}
