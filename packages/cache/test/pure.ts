// The tests of rules, names and rewriting that need no server, as one file: for each mutant one worker starts, and not
// one for every file.
import './channels.test.ts';
import './error-text.test.ts';
import './keyspec.test.ts';
import './names.test.ts';
import './readme.test.ts';
import './rewriting.test.ts';
import './rows.test.ts';
import './table.test.ts';
