/* bus/subject.h - private: topics as NATS subjects.
 *
 * A topic becomes one token: letters, digits, '_', '-', ':' and '~' stay as they are, every other
 * byte becomes %XX with capital digits. So no topic can hold what NATS reads as more than a name
 * ('.', '*', '>', blanks), none begins with '$', and no two have the same subject. */
#pragma once

#include "bus/base.h"

#define HUB__SUBJECT_TOPIC_BYTES 1090                     /* the longest topic of a bus */
#define HUB__SUBJECT_BYTES (3 * HUB__SUBJECT_TOPIC_BYTES) /* fits a control line: 4,096 */

/* Writes the subject and a NUL behind it. False: longer than HUB__SUBJECT_TOPIC_BYTES, or empty. */
bool hub__subject_encode(hub_str_t topic, char subject[HUB__SUBJECT_BYTES + 1]);
/* The exact inverse. The absent string: no topic has this subject. */
hub_str_t hub__subject_decode(hub_str_t subject, char topic[HUB__SUBJECT_TOPIC_BYTES]);
