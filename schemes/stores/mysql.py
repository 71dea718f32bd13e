"""Read state in MySQL: what every scheme writes through, whatever it puts in front.

    store = MySQL(url, model="flags"|"cursor", pool_size=32, receipt_members=200)
    await store.start()                 creates database and tables where missing, opens the pool
    await store.close()

    # who is in a conversation: fixed during a run, kept in a bounded LRU; Refused("NOT_MEMBER")
    await store.conversation(conversation_id, trace) -> Conversation
    await store.member(user, conversation_id, trace) -> Conversation

    # reads, one statement each
    await store.position(user, trace) -> (epoch, change_id)
    await store.states(user, conversations|None, trace, counted=False)
                                        -> (change_id, list[MemberState]), unread filled if counted; unknown
                                           conversations are simply absent
    await store.page(user, after|None, limit, trace)
                                        -> (change_id, list[MemberState], next cursor|None), newest first, counted
    await store.total_unread(user, trace) -> int
    await store.cursors([(user, conversation_id), ...], trace) -> dict[(user, conversation_id), Cursor]
    await store.heads([conversation_id, ...], trace) -> dict[conversation_id, Head]
    await store.highest_seq(conversation_id, message_ids, trace) -> int        Refused("NOT_FOUND")
    await store.sync(user, since, limit, messages, trace) -> SyncPage
    await store.history(conversation_id, from_seq, limit, trace) -> list[StoredMessage]

    # writes, one transaction each, retried on deadlock and lock wait
    await store.send(conversation, message, trace) -> Stored(sent, advanced|None, duplicate)
    await store.read(user, [(conversation, up_to_seq), ...], at, trace) -> list[Marking]
    await store.deliver(user, [(conversation, up_to_seq), ...], at, trace) -> list[Marking]
    await store.apply_reads(list[QueuedMark], trace) -> list[Advanced]          any order; sorted inside
    await store.apply_delivered(list[QueuedMark], trace) -> list[Reached]

    # the harness's door
    await store.reset();  await store.seed(conversations, done=...)
    await store.dump(after, limit) -> (list[DumpRow], next|None)
    await store.held(user, conversation_id) -> DumpRow|None
    store.stats() -> dict[str, int]
"""
