//! The table: what Microsoft's pages say of each resource, as data.
//!
//! In a path `@` stands for a person (`me`, or `users` and an id) and `*` for any one segment. The first row that fits
//! is taken. Ceilings are in minutes; what the live service says wins (`error::Meaning::OverCeiling` teaches).

/// What is known of a kind of resource.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "a row of a table: each is a column of its own")]
pub(super) struct Rule {
    pub(super) kind: &'static str,
    pub(super) paths: &'static [&'static str],
    /// Ceiling without resource data.
    pub(super) basic: u32,
    /// Ceiling with it; `None` when there is no rich form.
    pub(super) rich: Option<u32>,
    pub(super) needs_select: bool,
    pub(super) immutable_ids: bool,
    pub(super) lifecycle_url: bool,
    pub(super) one_per_app: bool,
    pub(super) delta: Option<&'static str>,
}

/// For what isn't in the table: Graph decides, and a day is granted for almost everything.
pub(super) const UNKNOWN: Rule = Rule {
    kind: "unknown",
    paths: &[],
    basic: 1_440,
    rich: None,
    needs_select: false,
    immutable_ids: false,
    lifecycle_url: false,
    one_per_app: false,
    delta: None,
};

const OUTLOOK: Rule =
    Rule { basic: 10_070, rich: Some(1_440), needs_select: true, immutable_ids: true, ..UNKNOWN };
const TEAMS: Rule =
    Rule { basic: 4_320, rich: Some(4_320), lifecycle_url: true, one_per_app: true, ..UNKNOWN };
const DIRECTORY: Rule = Rule { basic: 41_760, ..UNKNOWN };
const FILES: Rule = Rule { basic: 42_300, ..UNKNOWN };
const DAYS_3: Rule = Rule { basic: 4_230, ..UNKNOWN };

const RULES: &[Rule] = &[
    Rule { kind: "message", paths: &["@/mailfolders/*/messages"], delta: Some("{path}/delta"), ..OUTLOOK },
    Rule {
        kind: "message",
        paths: &["@/messages", "@/messages/*"],
        delta: Some("{owner}/mailfolders/{folder}/messages/delta"),
        ..OUTLOOK
    },
    Rule {
        kind: "event",
        paths: &["@/events", "@/events/*", "@/calendars/*/events", "@/calendar/events"],
        delta: Some("{owner}/calendarview/delta"),
        ..OUTLOOK
    },
    Rule {
        kind: "contact",
        paths: &["@/contacts", "@/contacts/*", "@/contactfolders/*/contacts"],
        delta: Some("{owner}/contacts/delta"),
        ..OUTLOOK
    },
    Rule {
        kind: "driveItem",
        paths: &[
            "drives/*/root",
            "@/drive/root",
            "sites/*/drive/root",
            "groups/*/drive/root",
            "drives/*/items/*",
        ],
        delta: Some("{path}/delta"),
        ..FILES
    },
    Rule { kind: "list", paths: &["sites/*/lists/*"], delta: Some("{path}/items/delta"), ..FILES },
    Rule { kind: "healthAlert", paths: &["reports/healthmonitoring/alerts"], ..FILES },
    Rule { kind: "todoTask", paths: &["@/todo/lists/*/tasks"], delta: Some("{path}/delta"), ..DAYS_3 },
    Rule {
        kind: "chatMessage",
        paths: &["teams/*/channels/*/messages"],
        delta: Some("{path}/delta"),
        ..TEAMS
    },
    Rule {
        kind: "chatMessage",
        paths: &[
            "chats/*/messages",
            "chats/getallmessages",
            "@/chats/getallmessages",
            "teams/getallmessages",
            "appcatalogs/teamsapps/*/installedtochats/getallmessages",
        ],
        ..TEAMS
    },
    Rule {
        kind: "conversationMember",
        paths: &[
            "teams/*/members",
            "teams/getallmembers",
            "chats/*/members",
            "chats/getallmembers",
            "teams/*/channels/getallmembers",
            "appcatalogs/teamsapps/*/installedtochats/getallmembers",
        ],
        ..TEAMS
    },
    Rule { kind: "channel", paths: &["teams/getallchannels", "teams/*/channels"], ..TEAMS },
    Rule {
        kind: "shift",
        paths: &["teams/*/schedule/*", "teams/*/schedule/*/*"],
        basic: 360,
        rich: None,
        lifecycle_url: false,
        ..TEAMS
    },
    Rule { kind: "chat", paths: &["chats", "chats/*", "appcatalogs/teamsapps/*/installedtochats"], ..TEAMS },
    Rule { kind: "team", paths: &["teams", "teams/*"], ..TEAMS },
    Rule {
        kind: "teamsAppInstallation",
        paths: &["appcatalogs/teamsapps/*/installations"],
        one_per_app: false,
        ..TEAMS
    },
    Rule {
        kind: "callRecording",
        paths: &[
            "communications/onlinemeetings/getallrecordings",
            "communications/onlinemeetings/*/recordings",
            "@/onlinemeetings/getallrecordings",
            "@/onlinemeetings/*/recordings",
        ],
        ..TEAMS
    },
    Rule {
        kind: "callTranscript",
        paths: &[
            "communications/onlinemeetings/getalltranscripts",
            "communications/onlinemeetings/*/transcripts",
            "@/onlinemeetings/getalltranscripts",
            "@/onlinemeetings/*/transcripts",
        ],
        ..TEAMS
    },
    // Given as 4,230 as well as 4,320.
    Rule {
        kind: "onlineMeeting",
        paths: &["communications/onlinemeetings/*/meetingcallevents"],
        basic: 4_230,
        rich: Some(4_230),
        ..TEAMS
    },
    Rule {
        kind: "aiInteraction",
        paths: &[
            "copilot/users/*/interactionhistory/getallenterpriseinteractions",
            "copilot/interactionhistory/getallenterpriseinteractions",
        ],
        ..TEAMS
    },
    Rule { kind: "callRecord", paths: &["communications/callrecords"], ..DAYS_3 },
    // Always encrypted.
    Rule {
        kind: "presence",
        paths: &["communications/presences", "communications/presences/*"],
        basic: 60,
        rich: Some(60),
        one_per_app: true,
        ..UNKNOWN
    },
    Rule { kind: "conversation", paths: &["groups/*/conversations"], ..DAYS_3 },
    Rule { kind: "printer", paths: &["print/printers/*/jobs"], ..DAYS_3 },
    Rule { kind: "printTaskDefinition", paths: &["print/taskdefinitions/*/tasks"], ..DAYS_3 },
    Rule { kind: "securityAlert", paths: &["security/alerts"], basic: 43_200, ..UNKNOWN },
    Rule {
        kind: "approvalItem",
        paths: &["solutions/approval/approvalitems"],
        basic: 43_200,
        one_per_app: true,
        ..UNKNOWN
    },
    Rule { kind: "virtualEvent", paths: &["solutions/virtualevents/events"], one_per_app: true, ..UNKNOWN },
    Rule {
        kind: "virtualEvent",
        paths: &["solutions/virtualevents/webinars/*", "solutions/virtualevents/webinars/*/*"],
        ..UNKNOWN
    },
    Rule { kind: "user", paths: &["users"], delta: Some("users/delta"), ..DIRECTORY },
    Rule { kind: "user", paths: &["users/*", "me"], delta: Some("users/delta"), ..DIRECTORY },
    Rule { kind: "group", paths: &["groups"], delta: Some("groups/delta"), ..DIRECTORY },
    Rule {
        kind: "group",
        paths: &["groups/*", "groups/*/owners", "groups/*/members"],
        delta: Some("groups/delta"),
        ..DIRECTORY
    },
];

/// Names of segments that stand in no pattern but may stand in a path: folders that every mailbox has.
const FOLDERS: &[&str] = &[
    "inbox",
    "drafts",
    "sentitems",
    "deleteditems",
    "archive",
    "junkemail",
    "outbox",
    "msgfolderroot",
    "calendarview",
];

/// The row for these segments.
pub(super) fn find(segments: &[String]) -> &'static Rule {
    RULES.iter().find(|rule| rule.paths.iter().any(|pattern| fits(pattern, segments))).unwrap_or(&UNKNOWN)
}

/// Whether `lower` is the name of a segment, whose letter case means nothing.
pub(super) fn is_name(lower: &str) -> bool {
    lower == "me"
        || FOLDERS.contains(&lower)
        || RULES.iter().flat_map(|rule| rule.paths).flat_map(|path| path.split('/')).any(|name| name == lower)
}

fn fits(pattern: &str, segments: &[String]) -> bool {
    let mut rest = segments;
    for part in pattern.split('/') {
        let taken = match (part, rest) {
            ("@", [first, ..]) if first == "me" => 1,
            ("@", [first, _, ..]) if first == "users" => 2,
            ("*", [_, ..]) => 1,
            (name, [first, ..]) if name == first => 1,
            _ => return false,
        };
        rest = &rest[taken..];
    }
    rest.is_empty()
}
