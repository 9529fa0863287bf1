/* SPDX-License-Identifier: MIT */
/* Several nodes may start at once, so one looks again behind an advisory lock before it makes
 * anything. The comment on the table says which form it has.
 *
 * The table is not logged: a row is of use for a moment, and delivery is at most once. Its oldest
 * rows are found by the primary key alone, so it has no other index. Bodies are stored as they are:
 * to compress what is read once and deleted would only take time. */
#include "bus/postgres_schema.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>

#define VERSION "SocketHub bus, form 1"
#define LOCK "8317976349691373685" /* "sockethu" */

static const char look_sql[] =
    "SELECT current_setting('server_encoding'), current_setting('transaction_read_only'),"
    " obj_description(to_regclass('sockethub.messages'), 'pg_class')";

/* The catalog itself is read: what to_regclass() looks into may be older than the lock. */
static const char make_sql[] =
    "DO $make$ BEGIN\n"
    "PERFORM pg_advisory_xact_lock(" LOCK ");\n"
    "IF EXISTS (SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace\n"
    "  WHERE n.nspname = 'sockethub' AND c.relname = 'messages') THEN\n"
    "  RETURN;\n"
    "END IF;\n"
    "IF NOT EXISTS (SELECT FROM pg_namespace WHERE nspname = 'sockethub') THEN\n"
    "  CREATE SCHEMA sockethub;\n"
    "END IF;\n"
    "CREATE UNLOGGED TABLE sockethub.messages (\n"
    "  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,\n"
    "  topic text NOT NULL,\n"
    "  body bytea NOT NULL,\n"
    "  created timestamptz NOT NULL DEFAULT clock_timestamp()\n"
    ") WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000);\n"
    "ALTER TABLE sockethub.messages ALTER body SET STORAGE EXTERNAL;\n"
    "CREATE FUNCTION sockethub.publish(topic text, body bytea) RETURNS bigint\n"
    "LANGUAGE plpgsql SET search_path = pg_catalog AS $publish$\n"
    "DECLARE\n"
    "  hash text := encode(substr(sha256(convert_to(topic, 'UTF8')), 1, 8), 'hex');\n"
    "  number bigint;\n"
    "BEGIN\n"
    "  INSERT INTO sockethub.messages (topic, body) VALUES (publish.topic, publish.body)\n"
    "    RETURNING messages.id INTO STRICT number;\n" /* somebody's trigger may suppress it */
    "  PERFORM pg_notify('" HUB__POSTGRES_CHANNEL "' || substr(hash, 1, 2),"
    " number || ' ' || hash);\n"
    "  RETURN number;\n"
    "END $publish$;\n"
    "CREATE FUNCTION sockethub.publish_json(hub text, topic text, event text,\n"
    "  payload jsonb DEFAULT '{}') RETURNS bigint\n"
    "LANGUAGE sql SET search_path = pg_catalog AS $publish$\n"
    "  SELECT sockethub.publish(hub || ':' || topic, convert_to(\n"
    "    jsonb_build_object('event', event, 'payload', payload)::text, 'UTF8'))\n"
    "$publish$;\n"
    "COMMENT ON TABLE sockethub.messages IS '" VERSION "';\n"
    "END $make$";

static const char may_sql[] =
    "SELECT obj_description(to_regclass('sockethub.messages'), 'pg_class'),"
    " has_table_privilege('sockethub.messages', 'SELECT')"
    " AND has_table_privilege('sockethub.messages', 'INSERT')"
    " AND has_function_privilege('sockethub.publish(text, bytea)', 'EXECUTE'),"
    " has_table_privilege('sockethub.messages', 'DELETE')";

static bool refuse(const hub__postgres_link_t *link, const char *what, hub_error_t *error)
{
    hub_error_set(error, HUB_EINVAL, 0, "%s: %s", link->use, what);
    return false;
}

/* Whether the database will do, and the schema is there. */
static bool look(hub__postgres_link_t *link, const PGresult *result, bool *ret_made,
                 hub_error_t *error)
{
    const char *encoding = PQgetvalue(result, 0, 0);

    /* the latter takes any bytes, and gives them back */
    if (strcmp(encoding, "UTF8") != 0 && strcmp(encoding, "SQL_ASCII") != 0)
        return refuse(link, "the database's encoding is neither UTF8 nor SQL_ASCII", error);
    if (strcmp(PQgetvalue(result, 0, 1), "on") == 0)
        return refuse(link, "the database is read-only, as a standby is", error);
    *ret_made = !PQgetisnull(result, 0, 2);
    return true;
}

static bool may(hub__postgres_link_t *link, const PGresult *result, bool *ret_clears,
                hub_error_t *error)
{
    if (strcmp(PQgetvalue(result, 0, 0), VERSION) != 0)
        return refuse(link,
                      "the table sockethub.messages is not of the form that this needs, "
                      "\"" VERSION "\" in its comment",
                      error);
    if (strcmp(PQgetvalue(result, 0, 1), "t") != 0)
        return refuse(link,
                      "the role wants SELECT and INSERT on sockethub.messages, and EXECUTE "
                      "on sockethub.publish",
                      error);
    *ret_clears = strcmp(PQgetvalue(result, 0, 2), "t") == 0;
    return true;
}

bool hub__postgres_schema_check(hub__postgres_link_t *link, hub__courier_t *courier,
                                uint64_t deadline_ms, bool *ret_clears, hub_error_t *error)
{
    PGresult *result = hub__postgres_link_ask(link, courier, look_sql, deadline_ms, error);
    bool made = false, good = result != NULL && look(link, result, &made, error);

    PQclear(result);
    if (!good)
        return false;
    if (!made) {
        result = hub__postgres_link_ask(link, courier, make_sql, deadline_ms, error);
        PQclear(result);
        if (result == NULL)
            return false;
    }
    result = hub__postgres_link_ask(link, courier, may_sql, deadline_ms, error);
    good = result != NULL && may(link, result, ret_clears, error);
    PQclear(result);
    return good;
}

uint64_t hub__postgres_topic_hash(hub_str_t topic)
{
    unsigned char digest[crypto_hash_sha256_BYTES];
    uint64_t hash = 0;

    crypto_hash_sha256(digest, (const unsigned char *)topic.base, topic.len);
    for (int i = 0; i < 8; i++)
        hash = hash << 8 | digest[i];
    return hash;
}
