//! The table as the documentation has it, and spellings that are the same.

use proptest::prelude::*;

use super::*;

fn read(text: &str) -> Resource {
    Resource::parse(text).unwrap()
}

#[test]
fn each_kind_has_the_ceilings_of_its_page() {
    for (text, kind, basic, rich) in [
        ("users/1/messages", "message", 10_070, Some(1_440)),
        ("me/mailFolders('inbox')/messages", "message", 10_070, Some(1_440)),
        ("users/1/events", "event", 10_070, Some(1_440)),
        ("users/1/contactFolders/x/contacts", "contact", 10_070, Some(1_440)),
        ("drives/b!x/root", "driveItem", 42_300, None),
        ("sites/a,b,c/lists/d", "list", 42_300, None),
        ("users", "user", 41_760, None),
        ("groups/1/members", "group", 41_760, None),
        ("groups/1/conversations", "conversation", 4_230, None),
        ("chats/1/messages", "chatMessage", 4_320, Some(4_320)),
        ("teams/getAllMessages", "chatMessage", 4_320, Some(4_320)),
        ("teams/1/channels/2/messages", "chatMessage", 4_320, Some(4_320)),
        ("teams/1/channels/getAllMembers", "conversationMember", 4_320, Some(4_320)),
        ("chats/getAllMembers", "conversationMember", 4_320, Some(4_320)),
        ("chats", "chat", 4_320, Some(4_320)),
        ("teams/1/channels", "channel", 4_320, Some(4_320)),
        ("teams/1", "team", 4_320, Some(4_320)),
        ("communications/callRecords", "callRecord", 4_230, None),
        ("communications/onlineMeetings/getAllTranscripts", "callTranscript", 4_320, Some(4_320)),
        (
            "communications/onlineMeetings(joinWebUrl='https://a/b')/meetingCallEvents",
            "onlineMeeting",
            4_230,
            Some(4_230),
        ),
        ("/communications/presences?$filter=id in ('a','b')", "presence", 60, Some(60)),
        ("me/todo/lists/1/tasks", "todoTask", 4_230, None),
        ("security/alerts?$filter=status eq 'new'", "securityAlert", 43_200, None),
        ("print/printers/1/jobs", "printer", 4_230, None),
        ("teams/1/schedule/shifts", "shift", 360, None),
        (
            "copilot/users/1/interactionHistory/getAllEnterpriseInteractions",
            "aiInteraction",
            4_320,
            Some(4_320),
        ),
        ("reports/healthMonitoring/alerts", "healthAlert", 42_300, None),
        ("solutions/virtualEvents/webinars/1/sessions", "virtualEvent", 1_440, None),
        ("something/else", "unknown", 1_440, None),
    ] {
        let found = read(text);
        assert_eq!(found.kind(), kind, "{text}");
        assert_eq!(found.ceiling(false), TimeDelta::minutes(basic), "{text}");
        let wanted = if kind == "unknown" { None } else { Some(rich.is_some()) };
        assert_eq!(found.can_be_rich(), wanted, "{text}");
        if let Some(rich) = rich {
            assert_eq!(found.ceiling(true), TimeDelta::minutes(rich), "{text}");
        }
    }
}

#[test]
fn spellings_of_one_resource_have_one_key() {
    for (one, other) in [
        ("/users/1/messages", "Users/1/Messages"),
        ("https://graph.microsoft.com/v1.0/users/1/messages", "users/1/messages"),
        ("/v1.0/users", "users"),
        ("me/mailFolders('Inbox')/messages", "me/mailfolders/inbox/messages"),
        (
            "users/AAAAAAAA-0000-4000-8000-00000000000B/events",
            "users/aaaaaaaa-0000-4000-8000-00000000000b/events",
        ),
        ("users/Alex@Contoso.example/events", "users/alex%40contoso.example/events"),
        ("chats/getAllMessages()", "chats/getAllMessages"),
        ("users/1/messages?$select=subject,from", "users/1/messages?$select=from,%20subject"),
        ("users/1/messages?$select=a&$filter=b", "users/1/messages?$filter=b&$select=a"),
    ] {
        assert_eq!(read(one).key(), read(other).key(), "{one}, {other}");
    }
    for (one, other) in [
        ("chats/19:ABC@thread.v2x/messages", "chats/19:xyz@thread.v2x/messages"),
        ("drives/b!Abc/root", "drives/b!abc/root"),
        ("users/1/messages?$select=subject", "users/1/messages"),
        ("users/1/messages?$select=subject", "users/1/messages?$select=from"),
        ("me/messages", "users/1/messages"),
        ("users/a+b/messages", "users/a b/messages"),
    ] {
        assert_ne!(read(one).key(), read(other).key(), "{one}, {other}");
    }
}

#[test]
fn what_is_sent_is_what_was_written_below_the_version() {
    assert_eq!(read("/Users/1/Messages").as_str(), "Users/1/Messages");
    assert_eq!(read("https://graph.microsoft.com/beta/users?$select=id").as_str(), "users?$select=id");
    for nothing in ["", "/", "  ", "https://graph.microsoft.com/v1.0/", "?$select=a", "users/\u{7}"] {
        assert_eq!(Resource::parse(nothing).err(), Some(ResourceError), "{nothing:?}");
    }
    assert!(Resource::parse(&"a".repeat(LONGEST + 1)).is_err());
}

#[test]
fn what_a_kind_needs_is_told() {
    let mail = read("me/messages");
    assert!(mail.lacks_select(true) && !mail.lacks_select(false) && mail.wants_immutable_ids());
    assert!(!read("me/messages?$select=subject").lacks_select(true));
    assert!(read("chats/getAllMessages").requires_lifecycle_url());
    assert!(read("chats/getAllMessages").is_one_per_app());
    assert!(!read("chats/1/messages").lacks_select(true));
    assert_eq!(read("Drives/b!X/Root").delta_path().as_deref(), Some("drives/b!X/root/delta"));
    assert_eq!(read("users/1/events").delta_path().as_deref(), Some("users/1/calendarview/delta"));
    assert_eq!(read("me/messages").delta_path().as_deref(), Some("me/mailfolders/{folder}/messages/delta"));
    assert_eq!(read("communications/callRecords").delta_path(), None);
}

#[test]
fn what_is_asked_for_stays_below_the_ceiling() {
    assert_eq!(
        read("me/messages").longest(false),
        TimeDelta::seconds(10_070 * 60) - TimeDelta::seconds(10_070 * 60 / 100)
    );
    assert_eq!(read("me/messages").longest(true), TimeDelta::minutes(1_440 - 15));
    assert_eq!(read("communications/presences/1").longest(false), TimeDelta::minutes(58));
}

proptest! {
    #[test]
    fn no_text_makes_reading_panic_and_a_key_reads_as_itself(text in ".{0,60}") {
        if let Ok(resource) = Resource::parse(&text) {
            prop_assert!(!resource.key().is_empty());
            prop_assert!(resource.longest(true) < resource.ceiling(true));
        }
    }
}
