// The tests of rules, names and rewriting that need no server, as one file: for each mutant one worker starts, and not
// one for every file.
import './copy-source.test.ts';
import './documents.test.ts';
import './grammar.test.ts';
import './names.test.ts';
import './parts.test.ts';
import './post-asked.test.ts';
import './post-signed.test.ts';
import './replies-errors.test.ts';
import './replies.test.ts';
import './requests-presigned.test.ts';
import './requests.test.ts';
import './rewriting-refused.test.ts';
import './rewriting.test.ts';
import './roles.test.ts';
import './rules.test.ts';
import './seal.test.ts';
