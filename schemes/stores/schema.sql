-- Read state in MySQL.  Portable between MySQL 8.0/8.4 and MariaDB 10.6+: no functional indexes, no row alias
-- in upserts, no RETURNING, no utf8mb4_0900 collations.
-- Both models live in one schema: `flags` writes message_read_status, `cursor` writes read_advances, and both
-- keep the cursors of conversation_members.

CREATE TABLE IF NOT EXISTS conversations (
  conversation_id VARCHAR(64)      NOT NULL,
  kind            TINYINT UNSIGNED NOT NULL COMMENT '1 direct, 2 group',
  last_seq        BIGINT UNSIGNED  NOT NULL DEFAULT 0,
  last_sent_at    DATETIME(3)      NOT NULL DEFAULT '1970-01-01 00:00:00.000' COMMENT 'the epoch: nothing sent yet',
  created_at      DATETIME(3)      NOT NULL,
  PRIMARY KEY (conversation_id)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

-- Clustered by user, so that opening the app is one range scan.  peer_id: found by key, not by scanning a group.
CREATE TABLE IF NOT EXISTS conversation_members (
  user_id         BIGINT           NOT NULL,
  conversation_id VARCHAR(64)      NOT NULL,
  peer_id         BIGINT           NULL COMMENT 'the other person of a direct conversation',
  delivered_seq   BIGINT UNSIGNED  NOT NULL DEFAULT 0,
  read_seq        BIGINT UNSIGNED  NOT NULL DEFAULT 0,
  delivered_at    DATETIME(3)      NULL,
  read_at         DATETIME(3)      NULL COMMENT 'server time of the last advance',
  version         BIGINT UNSIGNED  NOT NULL DEFAULT 0 COMMENT '+1 for each effective advance of read_seq',
  PRIMARY KEY (user_id, conversation_id),
  KEY idx_members (conversation_id)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

CREATE TABLE IF NOT EXISTS messages (
  conversation_id VARCHAR(64)      NOT NULL,
  seq             BIGINT UNSIGNED  NOT NULL,
  message_id      BIGINT           NOT NULL,
  sender_id       BIGINT           NOT NULL,
  client_msg_id   VARBINARY(36)    NOT NULL,
  sent_time       DATETIME(3)      NOT NULL,
  state           TINYINT UNSIGNED NOT NULL DEFAULT 1 COMMENT '0 pending, 1 processed, 2 failed',
  body            VARBINARY(4096)  NULL,
  PRIMARY KEY (conversation_id, seq),
  UNIQUE KEY uk_message_id (message_id),
  UNIQUE KEY uk_client (sender_id, client_msg_id)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

-- The article's table.  Its eight columns and both index names are kept; the key gains receiver_id, which makes
-- it right for groups, and idx_conv_user gains seq.  A direct conversation has one row per message.
CREATE TABLE IF NOT EXISTS message_read_status (
  message_id      BIGINT           NOT NULL,
  conversation_id VARCHAR(64)      NOT NULL,
  seq             BIGINT UNSIGNED  NOT NULL,
  sender_id       BIGINT           NOT NULL,
  receiver_id     BIGINT           NOT NULL,
  sent_time       DATETIME(3)      NOT NULL,
  delivered       BOOLEAN          NOT NULL DEFAULT FALSE,
  delivered_time  DATETIME(3)      NULL,
  read_status     BOOLEAN          NOT NULL DEFAULT FALSE,
  read_time       DATETIME(3)      NULL COMMENT 'first opening; never rewritten',
  PRIMARY KEY (message_id, receiver_id),
  KEY idx_conv_user (conversation_id, receiver_id, seq),
  KEY idx_read_status (read_status, read_time)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

-- One row per advance, so that first-read times of single messages survive in the cursor model.
CREATE TABLE IF NOT EXISTS read_advances (
  conversation_id VARCHAR(64)      NOT NULL,
  user_id         BIGINT           NOT NULL,
  up_to_seq       BIGINT UNSIGNED  NOT NULL,
  read_at         DATETIME(3)      NOT NULL,
  PRIMARY KEY (conversation_id, user_id, up_to_seq)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

CREATE TABLE IF NOT EXISTS user_sync_heads (
  user_id         BIGINT           NOT NULL,
  change_id       BIGINT UNSIGNED  NOT NULL DEFAULT 0,
  oldest_change   BIGINT UNSIGNED  NOT NULL DEFAULT 1 COMMENT 'below this: reset_required',
  epoch           INT UNSIGNED     NOT NULL DEFAULT 1,
  PRIMARY KEY (user_id)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

CREATE TABLE IF NOT EXISTS user_change_log (
  user_id         BIGINT           NOT NULL,
  change_id       BIGINT UNSIGNED  NOT NULL COMMENT 'per user, gap-free, taken in the same transaction',
  kind            TINYINT UNSIGNED NOT NULL COMMENT '3 read',
  conversation_id VARCHAR(64)      NOT NULL,
  actor_id        BIGINT           NOT NULL,
  from_seq        BIGINT UNSIGNED  NOT NULL COMMENT 'exclusive',
  up_to_seq       BIGINT UNSIGNED  NOT NULL,
  version         BIGINT UNSIGNED  NOT NULL,
  changed_at      DATETIME(3)      NOT NULL,
  PRIMARY KEY (user_id, change_id),
  KEY idx_user_time (user_id, changed_at)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

-- Events on their way to the log, written by the transactions that caused them (`queue --publish outbox`) and
-- deleted when the broker has them.
CREATE TABLE IF NOT EXISTS outbox (
  outbox_id       BIGINT UNSIGNED  NOT NULL AUTO_INCREMENT,
  partition_key   VARBINARY(272)   NOT NULL,
  payload         MEDIUMBLOB       NOT NULL,
  created_at      DATETIME(3)      NOT NULL,
  PRIMARY KEY (outbox_id)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

-- The article's column names over cursors, for checks that must run against either model.
CREATE OR REPLACE VIEW v_message_read_status AS
SELECT m.message_id, m.conversation_id, m.seq, m.sender_id, c.user_id AS receiver_id, m.sent_time,
       (c.delivered_seq >= m.seq)  AS delivered,
       (c.read_seq >= m.seq)       AS read_status,
       (SELECT MIN(a.read_at) FROM read_advances a
         WHERE a.conversation_id = m.conversation_id AND a.user_id = c.user_id AND a.up_to_seq >= m.seq) AS read_time
FROM messages m
JOIN conversation_members c ON c.conversation_id = m.conversation_id AND c.user_id <> m.sender_id;
