/* bus/subject.h - private: topics as NATS subjects.
 *
 *     <name>:<topic>       <name>.<topic>          a topic: two tokens
 *                          <name>.order.<topic>    the same, through the stream that orders it
 *     <name>/probe/<node>  <name>.probe.<node>     what a node sends to itself
 *
 * The name of a bus holds letters, digits, '_' and '-' alone, so one rule on a server ("hub.>")
 * speaks of all that is said on a bus and of nothing else. Of a topic, letters, digits, '_', '-',
 * ':' and '~' stay as they are, every other byte becomes %XX with capital digits: so it is one
 * token, holds nothing that NATS reads as more than a name ('.', '*', '>', blanks), and no two
 * topics have the same subject. What is none of these (three tokens, or a '%' without its digits)
 * is left to the backend for itself. */
#pragma once

#include "bus/base.h"

#define HUB__SUBJECT_NAME_BYTES 64
#define HUB__SUBJECT_TAIL_BYTES 1024 /* behind the name */
#define HUB__SUBJECT_TOPIC_BYTES                                                                   \
    (HUB__SUBJECT_NAME_BYTES + sizeof("/probe/") - 1 + HUB__SUBJECT_TAIL_BYTES)
/* It fits a control line: 4,096. */
#define HUB__SUBJECT_BYTES                                                                         \
    (HUB__SUBJECT_NAME_BYTES + sizeof(".order.") - 1 + 3 * HUB__SUBJECT_TAIL_BYTES)

/* Writes the subject and a NUL behind it. False: no topic of a bus, or too long. */
bool hub__subject_encode(hub_str_t topic, bool ordered, char subject[HUB__SUBJECT_BYTES + 1]);
/* The exact inverse, but that an ordered one is none here: it is published there and comes back as
 * the other. The absent string: no topic has this subject. */
hub_str_t hub__subject_decode(hub_str_t subject, char topic[HUB__SUBJECT_TOPIC_BYTES]);
