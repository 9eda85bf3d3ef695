// The tests of names and rewriting that need no server, as one file: for each mutant one worker starts, and not one for
// every file. What they do not import is not loaded for each mutant: neither the SDK, nor what makes random text of all
// Unicode.
import './allowed.test.ts';
import './copy-source.test.ts';
import './documents.test.ts';
import './grammar.test.ts';
import './head.test.ts';
import './last-checks.test.ts';
import './names.test.ts';
import './parts.test.ts';
import './pattern.test.ts';
import './post-asked.test.ts';
import './post-signed.test.ts';
import './replies-errors.test.ts';
import './replies.test.ts';
import './requests-presigned.test.ts';
import './requests.test.ts';
import './required.test.ts';
import './rewriting-refused.test.ts';
import './rewriting-subjects.test.ts';
import './rewriting.test.ts';
import './seal.test.ts';
import './speaking.test.ts';
import './subject-names.test.ts';
